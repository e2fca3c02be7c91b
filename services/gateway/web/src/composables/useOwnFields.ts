import { computed, onMounted, ref } from 'vue'
import { useI18n } from 'vue-i18n'
import type { Field } from '@/api/types'
import { useLoad } from '@/composables/useLoad'
import { dateTime } from '@/format'
import { DOORS, type Kind } from '@/screens/fields/kinds'

export interface OwnValue {
  key: string
  value: string
}

/** What words a value of one of the tenant's own fields as people read it. */
export function useOwnText(): (field: Field, values: readonly OwnValue[]) => string {
  const { t } = useI18n()
  return (field, values) => {
    const value = values.find((one) => one.key === field.key)?.value
    if (!value) return ''
    if (field.type === 'datetime') return dateTime(value)
    if (field.type === 'boolean') return value === 'true' ? t('common.yes') : t('common.no')
    return value
  }
}

/** The tenant's own fields of a kind of record, and what a form holds of them; `standing`: what the record has. */
export function useOwnFields(kind: Kind, standing: readonly OwnValue[] = []) {
  const { data, load } = useLoad(() => DOORS[kind].list(false))
  onMounted(load)
  const fields = computed(() => data.value ?? [])
  const before = texts(standing)
  const values = ref({ ...before })

  /** What is different from what stands, for the API; an empty value clears one. */
  function changed(): OwnValue[] {
    return fields.value.flatMap(({ key }) => {
      const value = values.value[key] ?? ''
      return value === (before[key] ?? '') ? [] : [{ key, value }]
    })
  }

  return { fields, values, changed }
}

function texts(values: readonly OwnValue[]): Record<string, string> {
  return Object.fromEntries(values.map(({ key, value }) => [key, value]))
}
