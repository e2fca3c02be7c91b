import { computed, onMounted } from 'vue'
import { useI18n } from 'vue-i18n'
import { answer, api } from '@/api/client'
import type { Department } from '@/api/types'
import { useLoad } from '@/composables/useLoad'
import { useColleagues } from '@/stores/colleagues'
import { useSession } from '@/stores/session'

/** Whom a pool names as its members; nobody at all: everybody is one. */
export interface Members {
  departmentIds: readonly string[]
  regionDepartmentIds: readonly string[]
  roles: readonly string[]
  personIds: readonly string[]
}

/** The roles of the tenant, for whoever may see them. */
export function useRoles() {
  const session = useSession()
  const roles = useLoad(async () => (await answer(api.GET('/api/v1/roles'))).roles)
  onMounted(() => {
    if (session.can('people.view')) void roles.load()
  })
  return roles.data
}

/** Who belongs to a pool, in words. */
export function useMemberNames(departments: () => readonly Department[]) {
  const { t } = useI18n()
  const colleagues = useColleagues()
  const roles = useRoles()
  const departmentNames = computed(() => new Map(departments().map((one) => [one.departmentId, one.name])))
  const roleNames = computed(() => new Map(roles.value?.map((one) => [one.code, one.name])))

  return (members: Members) => {
    const all = [
      ...[...members.departmentIds, ...members.regionDepartmentIds].map(
        (id) => departmentNames.value.get(id) ?? '…',
      ),
      ...members.roles.map((code) => roleNames.value.get(code) ?? code),
      ...members.personIds.map((id) => colleagues.nameOf(id) || '…'),
    ]
    return all.join('、') || t('pools.everybody')
  }
}
