import { computed, watch } from 'vue'
import { answer, api } from '@/api/client'
import { useLoad } from '@/composables/useLoad'
import { useLive } from '@/stores/live'

/** How many approvals wait for the reader, at most a page of them; follows the live stream. */
export function useWaitingApprovals() {
  const live = useLive()
  const { data, load } = useLoad(() =>
    answer(
      api.GET('/api/v1/approvals', { params: { query: { view: 'APPROVAL_VIEW_INBOX', pageSize: 100 } } }),
    ),
  )
  watch(
    () => live.approvalChanges,
    () => load(),
    { immediate: true },
  )
  return computed(() => data.value?.approvals.length ?? 0)
}
