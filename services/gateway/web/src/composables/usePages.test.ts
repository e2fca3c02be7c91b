import { expect, test } from 'vitest'
import { ApiError } from '@/api/errors'
import { useLoad } from './useLoad'
import { usePages } from './usePages'

const PAGES: Record<string, { items: number[]; nextPageToken: string }> = {
  '': { items: [1, 2], nextPageToken: 'b' },
  b: { items: [3], nextPageToken: '' },
}

test('pages are added up until the last, and read again from the first', async () => {
  const { rows, more, reload, loadMore } = usePages(
    async (token) => PAGES[token] ?? { items: [], nextPageToken: '' },
  )
  await reload()
  expect(rows.value).toEqual([1, 2])
  expect(more.value).toBe(true)
  await loadMore()
  expect(rows.value).toEqual([1, 2, 3])
  expect(more.value).toBe(false)
  await reload()
  expect(rows.value).toEqual([1, 2])
})

test('a page that cannot be read leaves the rows that are there', async () => {
  const { rows, error, reload, loadMore } = usePages(async (token) => {
    if (token) throw new ApiError('down', 503, 'UNAVAILABLE')
    return { items: [1], nextPageToken: 'b' }
  })
  await reload()
  await loadMore()
  expect(rows.value).toEqual([1])
  expect(error.value?.reason).toBe('UNAVAILABLE')
})

test('an answer that a later call overtook is dropped', async () => {
  const finish: ((text: string) => void)[] = []
  const { data, load } = useLoad(
    (which: number) =>
      new Promise<string>((resolve) => finish.push((text) => resolve(`${text} of ${which}`))),
  )
  const both = [load(1), load(2)]
  finish[1]?.('answer')
  finish[0]?.('answer')
  await Promise.all(both)
  expect(data.value).toBe('answer of 2')
})
