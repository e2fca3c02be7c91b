import { computed, onMounted } from 'vue'
import { useI18n } from 'vue-i18n'
import { answer, api } from '@/api/client'
import type { LeadPool } from '@/api/types'
import { useLoad } from './useLoad'

/** The lead pools that the person may take leads of, the tenant's own first. */
export function useLeadPools() {
  const { t } = useI18n()
  const { data, busy, error, load } = useLoad(async () => (await answer(api.GET('/api/v1/leadPools'))).pools)
  onMounted(load)
  const pools = computed(() => data.value ?? [])

  /** What a pool is called; the tenant's own has no name of its own. */
  function nameOf(pool: LeadPool | undefined): string {
    return pool?.own ? t('leads.pools.own') : (pool?.name ?? '—')
  }

  return {
    pools,
    /** Whether there is anything to choose. */
    several: computed(() => pools.value.length > 1),
    nameOf,
    nameOfId: (poolId: string) => nameOf(pools.value.find((pool) => pool.poolId === poolId)),
    busy,
    error,
    load,
  }
}
