// Fields that the tenant adds: each kind of record has its own at the service that owns it, all by the same contract.
import { answer, api } from '@/api/client'
import type { Field, FieldInput } from '@/api/types'

export const KINDS = ['customer', 'lead', 'product', 'contract'] as const
export type Kind = (typeof KINDS)[number]

/** Types of a field, as services/kernel/fields.py names them. */
export const TYPES = [
  'text',
  'long_text',
  'number',
  'amount',
  'date',
  'datetime',
  'boolean',
  'choice',
  'choices',
  'phone',
  'email',
  'link',
  'region',
]
/** Those with a longest length, with choices, that may be unique, that the quick search finds. */
export const LONG = ['text', 'long_text', 'email', 'link', 'region']
export const CHOOSING = ['choice', 'choices']
export const UNIQUE = ['text', 'number', 'date', 'phone', 'email', 'link']
export const SEARCHABLE = [...UNIQUE, 'region']

interface Door {
  /** `all`: removed ones too. */
  list: (all: boolean) => Promise<Field[]>
  create: (requestId: string, field: FieldInput) => Promise<unknown>
  update: (requestId: string, key: string, field: FieldInput) => Promise<unknown>
  order: (requestId: string, keys: string[]) => Promise<unknown>
}

function sales(object: 'product' | 'contract'): Door {
  return {
    list: async (all) =>
      (await answer(api.GET('/api/v1/salesFields', { params: { query: { object, all } } }))).fields,
    create: (requestId, field) =>
      answer(api.POST('/api/v1/salesFields', { body: { requestId, field: { ...field, object } } })),
    update: (requestId, key, field) =>
      answer(
        api.POST('/api/v1/salesFields/{key}:update', {
          params: { path: { key } },
          body: { requestId, object, field },
        }),
      ),
    order: (requestId, keys) =>
      answer(api.POST('/api/v1/salesFields:order', { body: { requestId, object, keys } })),
  }
}

export const DOORS: Record<Kind, Door> = {
  customer: {
    list: async (all) =>
      (await answer(api.GET('/api/v1/fields', { params: { query: { object: 'customer', all } } }))).fields,
    create: (requestId, field) => answer(api.POST('/api/v1/fields', { body: { requestId, field } })),
    update: (requestId, key, field) =>
      answer(
        api.POST('/api/v1/fields/{key}:update', { params: { path: { key } }, body: { requestId, field } }),
      ),
    order: (requestId, keys) => answer(api.POST('/api/v1/fields:order', { body: { requestId, keys } })),
  },
  lead: {
    list: async (all) => (await answer(api.GET('/api/v1/leadFields', { params: { query: { all } } }))).fields,
    create: (requestId, field) => answer(api.POST('/api/v1/leadFields', { body: { requestId, field } })),
    update: (requestId, key, field) =>
      answer(
        api.POST('/api/v1/leadFields/{key}:update', {
          params: { path: { key } },
          body: { requestId, field },
        }),
      ),
    order: (requestId, keys) => answer(api.POST('/api/v1/leadFields:order', { body: { requestId, keys } })),
  },
  product: sales('product'),
  contract: sales('contract'),
}
