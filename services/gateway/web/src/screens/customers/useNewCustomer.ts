import { computed, onMounted, reactive } from 'vue'
import { answer, api } from '@/api/client'
import type { components } from '@/api/schema'
import type { CustomerInput } from '@/api/types'
import { useAction } from '@/composables/useAction'
import { useLoad } from '@/composables/useLoad'

const FIELDS = ['name', 'level', 'region', 'address', 'businessType', 'phones', 'contacts', 'approverId']

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
    address: '',
    approverId: '',
  })
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
    return run({ ...fields, phones: numbers(phone), contacts: hasContact ? [contact] : [] })
  }

  const check = useLoad((name: string, phones: string[]) =>
    answer(api.POST('/api/v1/dedupe:check', { body: { kind: 'SUBJECT_KIND_CUSTOMER', name, phones } })),
  )
  const holders = computed(() => check.data.value?.holders ?? [])

  /** Ask whether somebody has this name or number already; malformed input waits for `save` to say so. */
  function lookForHolders(): void {
    const phones = numbers(form.phone).map((phone) => phone.number)
    if (form.name || phones.length) void check.load(form.name, phones)
  }

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
    registers,
    complete,
    busy,
    fieldError,
    save,
    holders,
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
