export default {
  zh: {
    states: {
      SUSPECT_STATE_OPEN: '待确认',
      SUSPECT_STATE_CONFIRMED: '已确认',
      SUSPECT_STATE_DISMISSED: '已排除',
    },
    likeness: '相似度 {percent}%',
    same: '是同一客户',
    different: '不是同一客户',
    differentSure: '排除后这些询价人不再互相提示，确定？',
    decided: '已处理',
    quoted: '已报价 {time}',
    siteAt: '项目地址：{address}',
    recorder: '登记人',
    hint: '确认或排除之前，同组的第二次报价会被拦下',
  },
  en: {
    states: {
      SUSPECT_STATE_OPEN: 'To confirm',
      SUSPECT_STATE_CONFIRMED: 'Confirmed',
      SUSPECT_STATE_DISMISSED: 'Dismissed',
    },
    likeness: '{percent}% alike',
    same: 'The same customer',
    different: 'Not the same',
    differentSure: 'These inquirers will never be suspected again. Sure?',
    decided: 'Done',
    quoted: 'Quoted {time}',
    siteAt: 'Site: {address}',
    recorder: 'Recorded by',
    hint: 'Until this is confirmed or dismissed, a second quote to the group is held',
  },
}
