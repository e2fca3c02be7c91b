// Names of the tenant's people, for showing who owns or did what.
import { defineStore } from 'pinia'
import { computed, shallowRef } from 'vue'
import { answer, api } from '@/api/client'
import type { Colleague } from '@/api/types'

export const useColleagues = defineStore('colleagues', () => {
  const list = shallowRef<Colleague[]>([])
  const names = computed(() => new Map(list.value.map(({ personId, name }) => [personId, name])))

  async function load(): Promise<void> {
    list.value = (await answer(api.GET('/api/v1/colleagues'))).colleagues
  }

  /** A person's name; empty for nobody and for a stranger. */
  function nameOf(personId: string | undefined): string {
    return names.value.get(personId ?? '') ?? ''
  }

  return { list, load, nameOf }
})
