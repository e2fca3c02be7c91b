import { answer, api } from '@/api/client'
import { ApiError } from '@/api/errors'
import type { PbxOrder } from '@/api/types'
import { i18n } from '@/i18n'

// How often it is asked what became of an order, in milliseconds, and how many times: after ten seconds it is not done
// any more.
const ASK_MS = 400
const ASKS = 30

const WORDED = ['TOO_LATE', 'PBX_DOWN', 'PBX_REFUSED', 'CALL_OVER', 'UNCERTAIN'] as const

/** Wait until the PBX has taken an order; throws ApiError where it did not, or where nobody knows. */
export async function carriedOut(queued: PbxOrder | undefined): Promise<void> {
  let order = queued
  for (let asked = 0; order && asked <= ASKS; asked++) {
    if (order.state === 'PBX_ORDER_STATE_ACCEPTED') return
    if (order.state === 'PBX_ORDER_STATE_FAILED') throw failed(order.reason)
    if (order.state === 'PBX_ORDER_STATE_UNCERTAIN') throw failed('UNCERTAIN')
    await new Promise((resolve) => window.setTimeout(resolve, ASK_MS))
    const params = { path: { pbxOrderId: order.pbxOrderId } }
    order = (await answer(api.GET('/api/v1/pbxOrders/{pbxOrderId}', { params }))).order
  }
  throw failed('TOO_LATE')
}

/** Whether to do it again is the person's choice, under a new request. */
function failed(reason: string): ApiError {
  const known = WORDED.find((one) => one === reason) ?? 'PBX_REFUSED'
  return new ApiError(i18n.global.t(`common.orders.${known}`), 409, reason)
}
