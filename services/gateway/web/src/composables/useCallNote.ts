import { computed, watch } from 'vue'
import { answer, api } from '@/api/client'
import { useAction } from './useAction'
import { useDraft } from './useDraft'

/**
 * The note of a call while it is written, in whichever place; `stored` is what the server has, undefined until read.
 *
 * A call has one note and may have several writers: what another wrote meanwhile is put before what was typed here.
 */
export function useCallNote(callId: string, stored: () => string | undefined) {
  // known: the stored note that the writer has seen.
  const { draft, settle } = useDraft(`note.${callId}`, { known: '', text: '' })
  const text = computed({
    get: () => draft.value.text,
    set: (typed: string) => (draft.value.text = typed),
  })
  const unsaved = computed(() => {
    const { known, text: typed } = draft.value
    return typed !== known && Boolean(typed.trim() || known)
  })

  function learn(note: string): void {
    const { known, text: typed } = draft.value
    if (note === known) return
    const mine = typed === known || note.includes(typed) ? '' : typed
    draft.value = { known: note, text: mine.includes(note) ? mine : [note, mine].filter(Boolean).join('\n') }
    if (!unsaved.value) settle()
  }
  watch(stored, (note) => note === undefined || learn(note), { immediate: true })

  const { run, busy, error, fieldError } = useAction(
    async (requestId, note: string, knownNote: string) => {
      const params = { path: { callId } }
      await answer(api.POST('/api/v1/calls/{callId}:note', { params, body: { requestId, note, knownNote } }))
      draft.value.known = note
      if (!unsaved.value) settle()
      return note
    },
    ['note'],
  )

  /** Keep it; undefined where that failed. Where another's was there, both are in the text then. */
  async function save(): Promise<string | undefined> {
    const saved = await run(draft.value.text, draft.value.known)
    if (error.value?.reason === 'NOTE_CHANGED') {
      const { call } = await answer(api.GET('/api/v1/calls/{callId}', { params: { path: { callId } } }))
      learn(call?.note ?? '')
    }
    return saved
  }

  return { text, unsaved, busy, fieldError, save }
}
