// Lines of orders and quotes as forms send them.

/** A line as typed; without unitPrice the product's price. */
export interface LineInput {
  productId: string
  quantity: string
  unitPrice: string
}

/** A line as the API tells it, to be typed over. */
export function typed(line: LineInput): LineInput {
  const { productId, quantity, unitPrice } = line
  return { productId, quantity, unitPrice }
}

/** Whether every line has what it needs. */
export function complete(lines: LineInput[]): boolean {
  return lines.length > 0 && lines.every((line) => line.productId && Number(line.quantity) > 0)
}
