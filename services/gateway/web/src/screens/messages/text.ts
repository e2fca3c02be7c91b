export default {
  zh: {
    unreadOnly: '只看未读',
    markAll: '全部标为已读',
    preferences: {
      title: '通知设置',
      hint: '站内消息始终会收到；这里设置站外的通知方式。',
      channels: '通知方式',
      CHANNEL_SMS: '短信',
      CHANNEL_MAIL: '邮件',
      mail: '邮箱',
      digest: '每天汇总为一条（紧急消息除外）',
      quiet: '免打扰时段（紧急消息除外）',
      locale: '通知语言',
      saved: '通知设置已保存',
    },
  },
  en: {
    unreadOnly: 'Unread only',
    markAll: 'Mark all as read',
    preferences: {
      title: 'Notifications',
      hint: 'Messages always come in the app; this is about the ways out of it.',
      channels: 'Channels',
      CHANNEL_SMS: 'SMS',
      CHANNEL_MAIL: 'Mail',
      mail: 'Mail address',
      digest: 'One message a day (but for the urgent)',
      quiet: 'Quiet hours (but for the urgent)',
      locale: 'Language',
      saved: 'Notification settings saved',
    },
  },
}
