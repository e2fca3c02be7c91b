import { computed, onMounted, onUnmounted, reactive, watch } from 'vue'
import { answer, api } from '@/api/client'
import type { components } from '@/api/schema'
import type { CustomerInput } from '@/api/types'
import { useAction } from '@/composables/useAction'
import { useLoad } from '@/composables/useLoad'
import { useOwnFields } from '@/composables/useOwnFields'

/** A name is looked for while it is typed, from this length on, after a pause. */
const SHORTEST_CHECKED = 2
const TYPING_PAUSE_MS = 300
const FIELDS = [
  'name',
  'level',
  'region',
  'address',
  'businessType',
  'creditCode',
  'phones',
  'contacts',
  'approverId',
  'values',
]

/** The form of a new customer, with the approver where the tenant registers customers; `number` is known already. */
export function useNewCustomer(number = '') {
  const form = reactive({
    name: '',
    phone: number,
    contactName: '',
    contactTitle: '',
    contactPhone: '',
    level: '',
    region: '',
    businessType: '',
    creditCode: '',
    address: '',
    approverId: '',
  })
  const own = useOwnFields('customer')
  const settings = useLoad(async () => (await answer(api.GET('/api/v1/customers:settings'))).settings)
  const registers = computed(() => settings.data.value?.registrationRequired ?? false)
  const complete = computed(() => Boolean(form.name.trim()) && (!registers.value || Boolean(form.approverId)))
  onMounted(settings.load)

  const { run, busy, fieldError } = useAction(
    async (requestId, input: CustomerInput) =>
      (await answer(api.POST('/api/v1/customers', { body: { requestId, ...input } }))).customer,
    FIELDS,
  )

  /** Create it; the customer as stored, or undefined when it was refused. */
  function save() {
    const { phone, contactName, contactTitle, contactPhone, ...fields } = form
    const contact = { name: contactName, title: contactTitle, phones: numbers(contactPhone) }
    const hasContact = Boolean(contactName || contactTitle || contactPhone)
    return run({
      ...fields,
      phones: numbers(phone),
      contacts: hasContact ? [contact] : [],
      values: own.changed(),
    })
  }

  const check = useLoad((name: string, phones: string[], contactNames: string[]) => {
    const { address, creditCode } = form
    const body = { name, phones, contactNames, address, creditCode, entrance: 'ENTRANCE_FORM' as const }
    return answer(api.POST('/api/v1/dedupe:checkDuplicates', { body }))
  })
  const holders = computed(() => check.data.value?.holders ?? [])
  const similar = computed(() => check.data.value?.similar ?? [])

  /** Ask whether somebody has this customer already; malformed input waits for `save` to say so. */
  function lookForHolders(): void {
    const phones = numbers(form.phone).map((phone) => phone.number)
    const contactNames = form.contactName ? [form.contactName] : []
    if (form.name || phones.length || form.creditCode) void check.load(form.name, phones, contactNames)
  }
  let typing = 0
  onUnmounted(() => window.clearTimeout(typing))
  watch(
    () => form.name,
    (name) => {
      window.clearTimeout(typing)
      if (name.trim().length >= SHORTEST_CHECKED) typing = window.setTimeout(lookForHolders, TYPING_PAUSE_MS)
    },
  )

  /** Registered companies with this in their name; none while the registry is away. */
  async function findCompanies(typed: string): Promise<Company[]> {
    if (typed.trim().length < 2) return []
    try {
      const params = { query: { query: typed.trim() } }
      return (await answer(api.GET('/api/v1/registry/companies', { params }))).companies
    } catch {
      return []
    }
  }

  /** Fill in what the registry knows of a chosen company, where nothing was typed. */
  async function fillIn(company: Company): Promise<void> {
    form.name = company.name
    form.creditCode = company.creditCode
    lookForHolders()
    try {
      const params = { path: { creditCode: company.creditCode } }
      const found = (await answer(api.GET('/api/v1/registry/companies/{creditCode}', { params }))).company
      form.region ||= found?.region ?? ''
      form.address ||= found?.address ?? ''
      form.businessType ||= found?.businessType ?? ''
      form.contactName ||= found?.legalPerson ?? ''
    } catch {
      // The form is filled in by hand then.
    }
  }

  return {
    form,
    values: own.values,
    ownFields: own.fields,
    registers,
    complete,
    busy,
    fieldError,
    save,
    holders,
    similar,
    lookForHolders,
    findCompanies,
    fillIn,
  }
}

export type Company = components['schemas']['customers.Company']
export type NewCustomer = ReturnType<typeof useNewCustomer>

function numbers(typed: string): { number: string }[] {
  return typed ? [{ number: typed }] : []
}
