export default {
  zh: {
    create: '新建账户',
    name: '账户名称',
    opening: '期初余额（元）',
    saved: '账户已保存',
    time: '时间',
    note: '摘要',
    amount: '收支',
    balance: '余额',
  },
  en: {
    create: 'New account',
    name: 'Name',
    opening: 'Opening balance (CNY)',
    saved: 'Account saved',
    time: 'Time',
    note: 'What for',
    amount: 'In or out',
    balance: 'Balance',
  },
}
