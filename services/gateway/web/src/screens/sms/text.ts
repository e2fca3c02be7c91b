export default {
  zh: {
    number: '接收号码',
    text: '内容',
    state: '状态',
    modem: '通道 × 条数',
    createTime: '提交时间',
    sendTime: '发送时间',
    deliverTime: '送达时间',
  },
  en: {
    number: 'To',
    text: 'Text',
    state: 'State',
    modem: 'Modem × parts',
    createTime: 'Queued',
    sendTime: 'Sent',
    deliverTime: 'Delivered',
  },
}
