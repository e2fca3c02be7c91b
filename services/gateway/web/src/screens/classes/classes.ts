// Classes of customers: how many are in each, and where the list of one is.
import type { RouteLocationRaw } from 'vue-router'
import { answer, api } from '@/api/client'
import type { Category, CustomerView } from '@/api/types'
import { withBelow } from '@/screens/customers/filters'
import { useSession } from '@/stores/session'

export type By = 'region' | 'level' | 'business_type' | 'owner_id' | 'category_id' | 'dealer_id'

/** All that the person sees; who sees only the own records has them in the one list. */
export function widest(): CustomerView {
  return useSession().person?.scope === 'DATA_SCOPE_SELF' ? 'CUSTOMER_VIEW_MINE' : 'CUSTOMER_VIEW_ALL'
}

/** How many customers of each class the person sees, the largest first. */
export async function count(by: By): Promise<{ value: string; count: number }[]> {
  const params = { query: { view: widest(), by } }
  const { counts } = await answer(api.GET('/api/v1/customers:count', { params }))
  return counts.map((one) => ({ value: one.value, count: Number(one.count) }))
}

/** Where the customers of some classes are listed; none: those that are in no class. */
export function listOf(by: By, values: string[]): RouteLocationRaw {
  const asked = values.length ? { field: by, op: 'in', value: values } : { field: by, op: 'empty' }
  return { name: 'customers', query: { view: widest(), filter: JSON.stringify({ all: [asked] }) } }
}

export interface Branch {
  value: string
  label: string
  category: Category
  /** Of this category and of all below it. */
  count: number
  children: Branch[]
}

/** Categories, parents before children, as branches with the customers in each. */
export function asTree(categories: Category[], counts: Map<string, number>): Branch[] {
  const branches = new Map<string, Branch>()
  const roots: Branch[] = []
  for (const category of categories) {
    const { categoryId, name } = category
    const below = withBelow([categoryId], categories)
    const total = below.reduce((sum, id) => sum + (counts.get(id) ?? 0), 0)
    const branch = { value: categoryId, label: name, category, count: total, children: [] }
    branches.set(categoryId, branch)
    const siblings = branches.get(category.parentId)?.children ?? roots
    siblings.push(branch)
  }
  return roots
}
