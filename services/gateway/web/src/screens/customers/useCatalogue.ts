// What a list of customers can show and be asked for: built-in columns and the tenant's own fields.
import { computed } from 'vue'
import { useI18n } from 'vue-i18n'
import { answer, api } from '@/api/client'
import type { Customer, CustomerView } from '@/api/types'
import type { Column } from '@/components/DataTable.vue'
import { useLoad } from '@/composables/useLoad'
import { useOwnText } from '@/composables/useOwnFields'
import { useSession } from '@/stores/session'
import { findDealers } from './dealers'
import { askables } from './filters'

/** Columns that every list can show, in their order; the name is always there. */
const COLUMNS = [
  'phones',
  'level',
  'region',
  'businessType',
  'address',
  'category',
  'tags',
  'owner',
  'approver',
  'state',
  'lastEvidence',
  'ownTime',
  'createTime',
  'daysLeft',
]

const DEFAULTS: Partial<Record<CustomerView, string[]>> = {
  CUSTOMER_VIEW_MINE: ['phones', 'level', 'region', 'lastEvidence', 'daysLeft'],
  CUSTOMER_VIEW_ALL: ['phones', 'level', 'region', 'owner', 'lastEvidence', 'daysLeft'],
  CUSTOMER_VIEW_REGISTRATIONS: ['phones', 'state', 'owner', 'approver', 'createTime'],
}

const SORTED = ['number', 'amount', 'date', 'datetime']

export function useCatalogue() {
  const { t } = useI18n()
  const session = useSession()
  const ownText = useOwnText()
  const { data, load } = useLoad(async () => {
    const [{ fields }, { categories }] = await Promise.all([
      answer(api.GET('/api/v1/fields', { params: { query: { object: 'customer' } } })),
      answer(api.GET('/api/v1/customerCategories')),
    ])
    return { fields, categories }
  })
  // Asked for by who filters by them.
  const dealers = useLoad(async () => (await findDealers('CUSTOMER_VIEW_ALL')).customers)
  const fields = computed(() => data.value?.fields ?? [])
  const categories = computed(() => data.value?.categories ?? [])

  const columns = computed<Column[]>(() => [
    { key: 'name', label: t('customers.name'), wrap: true },
    ...COLUMNS.map((key) => ({ key, label: t(`customers.${key}`) })),
    ...fields.value.map((field) => ({
      key: `custom.${field.key}`,
      label: field.name,
      wrap: field.type.endsWith('text'),
    })),
  ])

  /** The columns of a list: those that were chosen, or else what its view shows. */
  function shown(view: CustomerView, chosen: string[]): Column[] {
    const listed = fields.value.filter((field) => field.listed).map((field) => `custom.${field.key}`)
    const keys = ['name', ...(chosen.length ? chosen : [...(DEFAULTS[view] ?? []), ...listed])]
    return columns.value.filter((column) => keys.includes(column.key))
  }

  const asked = computed(() =>
    askables(fields.value, (key) => t(`customers.asked.${key}`), session.can('numbers.view_all')),
  )

  const orders = computed(() => [
    { value: '', label: t('customers.orders.newest') },
    { value: 'name', label: t('customers.orders.name') },
    { value: '-last_evidence_time', label: t('customers.orders.worked') },
    { value: 'last_evidence_time', label: t('customers.orders.idle') },
    { value: '-own_time', label: t('customers.orders.owned') },
    ...fields.value
      .filter((field) => SORTED.includes(field.type))
      .flatMap((field) => [
        { value: `-custom.${field.key}`, label: t('customers.orders.down', { name: field.name }) },
        { value: `custom.${field.key}`, label: t('customers.orders.up', { name: field.name }) },
      ]),
  ])

  /** A value of one of the tenant's own fields, as people read it. */
  function ownValue(customer: Customer, key: string): string {
    const field = fields.value.find((one) => one.key === key)
    return (field && ownText(field, customer.values)) || '—'
  }

  function categoryName(categoryId: string): string {
    return categories.value.find((one) => one.categoryId === categoryId)?.name ?? '—'
  }

  return {
    load,
    loaded: computed(() => Boolean(data.value)),
    fields,
    categories,
    dealers: computed(() => dealers.data.value ?? []),
    loadDealers: () => dealers.load(),
    columns,
    shown,
    asked,
    orders,
    ownValue,
    categoryName,
  }
}

export type Catalogue = ReturnType<typeof useCatalogue>
