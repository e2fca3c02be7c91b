export default {
  zh: { unreadOnly: '只看未读', markAll: '全部标为已读' },
  en: { unreadOnly: 'Unread only', markAll: 'Mark all as read' },
}
