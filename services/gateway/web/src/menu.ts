// The screens: where they are, who may open them, and how the side menu shows them.
import {
  Bell,
  Calendar,
  Checked,
  Collection,
  Coin,
  CopyDocument,
  Document,
  Files,
  Filter,
  Goods,
  Grid,
  MapLocation,
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

/** Groups of the side menu in their order; the texts are layout.groups.<name>. */
export const GROUPS = ['customers', 'sales', 'talk', 'desk', 'admin'] as const
export type Group = (typeof GROUPS)[number]

export interface Screen {
  /** Name of the route, and of the text layout.menu.<name>. */
  name: string
  path: string
  /** Right that the screen needs; absent: everybody. */
  right?: string
  icon: Component
  screen: () => Promise<{ default: RouteComponent }>
}

/** A screen that stands in the menu. */
export interface Entry extends Screen {
  group: Group
}

export const entries: Entry[] = [
  {
    name: 'customers',
    group: 'customers',
    path: '/customers',
    right: 'customers.view',
    icon: UserFilled,
    screen: () => import('./screens/customers/CustomersScreen.vue'),
  },
  {
    name: 'classes',
    group: 'customers',
    path: '/customer-classes',
    right: 'customers.view',
    icon: Files,
    screen: () => import('./screens/classes/ClassesScreen.vue'),
  },
  {
    name: 'imports',
    group: 'customers',
    path: '/imports/:importId?',
    right: 'customers.import',
    icon: Upload,
    screen: () => import('./screens/imports/ImportsScreen.vue'),
  },
  {
    name: 'pool',
    group: 'customers',
    path: '/pool',
    right: 'customers.view',
    icon: Collection,
    screen: () => import('./screens/pool/PoolScreen.vue'),
  },
  {
    name: 'projects',
    group: 'customers',
    path: '/projects',
    right: 'customers.create',
    icon: MapLocation,
    screen: () => import('./screens/projects/ProjectsScreen.vue'),
  },
  {
    name: 'leads',
    group: 'sales',
    path: '/leads/:leadId?',
    right: 'leads.view',
    icon: Filter,
    screen: () => import('./screens/leads/LeadsScreen.vue'),
  },
  {
    name: 'opportunities',
    group: 'sales',
    path: '/opportunities/:opportunityId?',
    right: 'leads.view',
    icon: Trophy,
    screen: () => import('./screens/opportunities/OpportunitiesScreen.vue'),
  },
  {
    name: 'quotes',
    group: 'sales',
    path: '/quotes/:quoteId?',
    right: 'orders.view',
    icon: Tickets,
    screen: () => import('./screens/quotes/QuotesScreen.vue'),
  },
  {
    name: 'orders',
    group: 'sales',
    path: '/orders/:orderId?',
    right: 'orders.view',
    icon: Coin,
    screen: () => import('./screens/orders/OrdersScreen.vue'),
  },
  {
    name: 'contracts',
    group: 'sales',
    path: '/contracts/:contractId?',
    right: 'orders.view',
    icon: Stamp,
    screen: () => import('./screens/contracts/ContractsScreen.vue'),
  },
  {
    name: 'products',
    group: 'sales',
    path: '/products',
    right: 'orders.view',
    icon: Goods,
    screen: () => import('./screens/products/ProductsScreen.vue'),
  },
  {
    name: 'cashier',
    group: 'sales',
    path: '/cashier',
    right: 'finance.manage',
    icon: Wallet,
    screen: () => import('./screens/cashier/CashierScreen.vue'),
  },
  {
    name: 'approvals',
    group: 'desk',
    path: '/approvals/:approvalId?',
    icon: Checked,
    screen: () => import('./screens/approvals/ApprovalsScreen.vue'),
  },
  {
    name: 'suspects',
    group: 'customers',
    path: '/suspects',
    right: 'approvals.decide',
    icon: Warning,
    screen: () => import('./screens/suspects/SuspectsScreen.vue'),
  },
  {
    name: 'duplicates',
    group: 'customers',
    path: '/duplicates',
    right: 'pools.manage',
    icon: CopyDocument,
    screen: () => import('./screens/duplicates/DuplicatesScreen.vue'),
  },
  {
    name: 'calls',
    group: 'talk',
    path: '/calls/:callId?',
    right: 'calls.view',
    icon: Phone,
    screen: () => import('./screens/calls/CallsScreen.vue'),
  },
  {
    name: 'sms',
    group: 'talk',
    path: '/sms',
    right: 'sms.view',
    icon: Message,
    screen: () => import('./screens/sms/SmsScreen.vue'),
  },
  {
    name: 'bulk',
    group: 'talk',
    path: '/bulk-sms/:bulkSmsId?',
    right: 'sms.bulk',
    icon: Promotion,
    screen: () => import('./screens/bulk/BulkScreen.vue'),
  },
  {
    name: 'messages',
    group: 'desk',
    path: '/messages',
    icon: Bell,
    screen: () => import('./screens/messages/MessagesScreen.vue'),
  },
  {
    name: 'staff',
    group: 'admin',
    path: '/staff',
    right: 'people.view',
    icon: User,
    screen: () => import('./screens/staff/StaffScreen.vue'),
  },
  {
    name: 'flows',
    group: 'admin',
    path: '/approval-flows',
    right: 'settings.manage',
    icon: Share,
    screen: () => import('./screens/flows/FlowsScreen.vue'),
  },
  {
    name: 'pools',
    group: 'admin',
    path: '/pools',
    right: 'pools.manage',
    icon: Operation,
    screen: () => import('./screens/pools/PoolsScreen.vue'),
  },
  {
    name: 'schedule',
    group: 'desk',
    path: '/schedule',
    icon: Calendar,
    screen: () => import('./screens/schedule/ScheduleScreen.vue'),
  },
  {
    name: 'fields',
    group: 'admin',
    path: '/fields',
    right: 'settings.manage',
    icon: Grid,
    screen: () => import('./screens/fields/FieldsScreen.vue'),
  },
  {
    name: 'settings',
    group: 'admin',
    path: '/settings',
    right: 'settings.manage',
    icon: Setting,
    screen: () => import('./screens/settings/SettingsScreen.vue'),
  },
]

// A customer's card is reached from everywhere and stands in no menu.
export const card: Screen = {
  name: 'customer',
  path: '/customers/:customerId',
  right: 'customers.view',
  icon: Document,
  screen: () => import('./screens/customer/CustomerScreen.vue'),
}
