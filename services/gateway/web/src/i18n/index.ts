// Chinese first, English by a switch. Each screen keeps its texts in both languages beside it, in text.ts.
import { createI18n } from 'vue-i18n'
import common from './common'
import states from './states'

export type Locale = 'zh-CN' | 'en'

interface Text {
  zh: object
  en: object
}

const STORED = 'gonghai.locale'

const screens = import.meta.glob<Text>(['../screens/*/text.ts', '../layout/text.ts'], {
  eager: true,
  import: 'default',
})
const rooms: Record<string, Text> = { common, states }
for (const [path, text] of Object.entries(screens)) rooms[path.split('/').at(-2) ?? ''] = text

function messages(language: keyof Text) {
  return Object.fromEntries(Object.entries(rooms).map(([room, text]) => [room, text[language]]))
}

export const i18n = createI18n({
  legacy: false,
  locale: (localStorage.getItem(STORED) === 'en' ? 'en' : 'zh-CN') as Locale,
  fallbackLocale: 'zh-CN' as Locale,
  messages: { 'zh-CN': messages('zh'), en: messages('en') },
})
document.documentElement.lang = i18n.global.locale.value

/** Change the language, for this browser's later visits too. */
export function setLocale(locale: Locale): void {
  i18n.global.locale.value = locale
  document.documentElement.lang = locale
  localStorage.setItem(STORED, locale)
}
