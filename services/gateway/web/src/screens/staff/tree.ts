// The organisation's tree, as Element Plus' trees want it.
import type { Department } from '@/api/types'

export interface Branch {
  value: string
  label: string
  department: Department
  children: Branch[]
}

/** Departments, parents before children, as branches of their roots. */
export function asTree(departments: Department[]): Branch[] {
  const branches = new Map<string, Branch>()
  const roots: Branch[] = []
  for (const department of departments) {
    const branch = { value: department.departmentId, label: department.name, department, children: [] }
    branches.set(department.departmentId, branch)
    const siblings = branches.get(department.parentId)?.children ?? roots
    siblings.push(branch)
  }
  return roots
}
