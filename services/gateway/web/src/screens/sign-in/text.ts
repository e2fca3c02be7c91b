export default {
  zh: {
    slogan: '电话销售团队自己的客户系统',
    tenant: '企业',
    login: '账号',
    password: '密码',
    submit: '登录',
    again: '登录已失效，请重新登录。页面上输入的内容还在。',
  },
  en: {
    slogan: 'The CRM of teams that live on the phone',
    tenant: 'Company',
    login: 'User name',
    password: 'Password',
    submit: 'Sign in',
    again: 'Your session has ended. Sign in again: what you typed is still there.',
  },
}
