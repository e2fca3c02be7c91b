import { onScopeDispose, readonly, ref } from 'vue'
import { serverNow } from '@/api/clock'

/** The server's time in milliseconds, moving once a second. */
export function useNow() {
  const now = ref(serverNow())
  const timer = window.setInterval(() => (now.value = serverNow()), 1000)
  onScopeDispose(() => window.clearInterval(timer))
  return readonly(now)
}
