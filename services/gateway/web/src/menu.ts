// The screens: where they are, who may open them, and how the side menu shows them.
import {
  Bell,
  Calendar,
  Checked,
  Collection,
  Coin,
  CopyDocument,
  Document,
  Filter,
  Goods,
  Grid,
  Message,
  Operation,
  Phone,
  Promotion,
  Setting,
  Share,
  Stamp,
  Tickets,
  Trophy,
  Upload,
  User,
  UserFilled,
  Wallet,
  Warning,
} from '@element-plus/icons-vue'
import type { Component } from 'vue'
import type { RouteComponent } from 'vue-router'

export interface Entry {
  /** Name of the route, and of the text layout.menu.<name>. */
  name: string
  path: string
  /** Right that the screen needs; absent: everybody. */
  right?: string
  icon: Component
  screen: () => Promise<{ default: RouteComponent }>
}

export const entries: Entry[] = [
  {
    name: 'customers',
    path: '/customers',
    right: 'customers.view',
    icon: UserFilled,
    screen: () => import('./screens/customers/CustomersScreen.vue'),
  },
  {
    name: 'imports',
    path: '/imports/:importId?',
    right: 'customers.import',
    icon: Upload,
    screen: () => import('./screens/imports/ImportsScreen.vue'),
  },
  {
    name: 'pool',
    path: '/pool',
    right: 'customers.view',
    icon: Collection,
    screen: () => import('./screens/pool/PoolScreen.vue'),
  },
  {
    name: 'leads',
    path: '/leads/:leadId?',
    right: 'leads.view',
    icon: Filter,
    screen: () => import('./screens/leads/LeadsScreen.vue'),
  },
  {
    name: 'opportunities',
    path: '/opportunities/:opportunityId?',
    right: 'leads.view',
    icon: Trophy,
    screen: () => import('./screens/opportunities/OpportunitiesScreen.vue'),
  },
  {
    name: 'quotes',
    path: '/quotes/:quoteId?',
    right: 'orders.view',
    icon: Tickets,
    screen: () => import('./screens/quotes/QuotesScreen.vue'),
  },
  {
    name: 'orders',
    path: '/orders/:orderId?',
    right: 'orders.view',
    icon: Coin,
    screen: () => import('./screens/orders/OrdersScreen.vue'),
  },
  {
    name: 'contracts',
    path: '/contracts/:contractId?',
    right: 'orders.view',
    icon: Stamp,
    screen: () => import('./screens/contracts/ContractsScreen.vue'),
  },
  {
    name: 'products',
    path: '/products',
    right: 'orders.view',
    icon: Goods,
    screen: () => import('./screens/products/ProductsScreen.vue'),
  },
  {
    name: 'cashier',
    path: '/cashier',
    right: 'finance.manage',
    icon: Wallet,
    screen: () => import('./screens/cashier/CashierScreen.vue'),
  },
  {
    name: 'approvals',
    path: '/approvals/:approvalId?',
    icon: Checked,
    screen: () => import('./screens/approvals/ApprovalsScreen.vue'),
  },
  {
    name: 'suspects',
    path: '/suspects',
    right: 'approvals.decide',
    icon: Warning,
    screen: () => import('./screens/suspects/SuspectsScreen.vue'),
  },
  {
    name: 'duplicates',
    path: '/duplicates',
    right: 'pools.manage',
    icon: CopyDocument,
    screen: () => import('./screens/duplicates/DuplicatesScreen.vue'),
  },
  {
    name: 'calls',
    path: '/calls/:callId?',
    right: 'calls.view',
    icon: Phone,
    screen: () => import('./screens/calls/CallsScreen.vue'),
  },
  {
    name: 'sms',
    path: '/sms',
    right: 'sms.view',
    icon: Message,
    screen: () => import('./screens/sms/SmsScreen.vue'),
  },
  {
    name: 'bulk',
    path: '/bulk-sms/:bulkSmsId?',
    right: 'sms.bulk',
    icon: Promotion,
    screen: () => import('./screens/bulk/BulkScreen.vue'),
  },
  {
    name: 'messages',
    path: '/messages',
    icon: Bell,
    screen: () => import('./screens/messages/MessagesScreen.vue'),
  },
  {
    name: 'staff',
    path: '/staff',
    right: 'people.view',
    icon: User,
    screen: () => import('./screens/staff/StaffScreen.vue'),
  },
  {
    name: 'flows',
    path: '/approval-flows',
    right: 'settings.manage',
    icon: Share,
    screen: () => import('./screens/flows/FlowsScreen.vue'),
  },
  {
    name: 'pools',
    path: '/pools',
    right: 'pools.manage',
    icon: Operation,
    screen: () => import('./screens/pools/PoolsScreen.vue'),
  },
  {
    name: 'schedule',
    path: '/schedule',
    icon: Calendar,
    screen: () => import('./screens/schedule/ScheduleScreen.vue'),
  },
  {
    name: 'fields',
    path: '/fields',
    right: 'settings.manage',
    icon: Grid,
    screen: () => import('./screens/fields/FieldsScreen.vue'),
  },
  {
    name: 'settings',
    path: '/settings',
    right: 'settings.manage',
    icon: Setting,
    screen: () => import('./screens/settings/SettingsScreen.vue'),
  },
]

// A customer's card is reached from everywhere and stands in no menu.
export const card: Entry = {
  name: 'customer',
  path: '/customers/:customerId',
  right: 'customers.view',
  icon: Document,
  screen: () => import('./screens/customer/CustomerScreen.vue'),
}
