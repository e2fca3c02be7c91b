import { computed, onScopeDispose, watchEffect } from 'vue'
import { useI18n } from 'vue-i18n'
import { usePops } from '@/stores/pops'

/** Name the page by a ringing call while there is one, so that an agent in another window sees it in the tab. */
export function useTitle(): void {
  const { t } = useI18n()
  const pops = usePops()
  const title = computed(() =>
    pops.ringing
      ? `☎ ${pops.ringing.callers[0]?.customerName ?? pops.ringing.number} · ${t('states.POP_STATE_RINGING')}`
      : t('common.product'),
  )
  watchEffect(() => (document.title = title.value))
  onScopeDispose(() => (document.title = t('common.product')))
}
