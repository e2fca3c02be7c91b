// Short names for the API's records; schema.d.ts is generated from the gateway's OpenAPI document.
import type { components } from './schema'

type Schemas = components['schemas']

export type Person = Schemas['identity.Person']
export type PersonInput = Schemas['identity.Person.Input']
export type Role = Schemas['identity.Role']
export type RoleInput = Schemas['identity.Role.Input']
export type DataScope = Schemas['identity.DataScope']
export type RightModule = Schemas['identity.RightModule']
export type Department = Schemas['identity.Department']
export type DepartmentInput = Schemas['identity.Department.Input']
export type AuditEntry = Schemas['identity.AuditEntry']
export type Colleague = Schemas['identity.Colleague']

export type Customer = Schemas['customers.Customer']
export type CustomerView = Schemas['customers.CustomerView']
export type Contact = Schemas['customers.Contact']
export type Phone = Schemas['customers.Phone']
export type FollowUp = Schemas['customers.FollowUp']
export type OwnershipChange = Schemas['customers.OwnershipChange']
export type Pool = Schemas['customers.Pool']
export type PoolInput = Schemas['customers.Pool.Input']
export type CustomerSettings = Schemas['customers.Settings.Input']
export type CustomerInput = Omit<Schemas['customers.CreateCustomerRequest'], 'requestId'>
export type ItemResult = Schemas['customers.ItemResult']

export type Lead = Schemas['leads.Lead']
export type LeadState = Schemas['leads.LeadState']
export type ConvertInput = Omit<Schemas['leads.ConvertLeadRequest'], 'requestId'>
export type LeadChange = Schemas['leads.LeadChange']
export type Opportunity = Schemas['leads.Opportunity']

export type Order = Schemas['orders.Order']
export type OrderState = Schemas['orders.OrderState']
export type Reminder = Schemas['notify.Reminder']

export type Approval = Schemas['approvals.Approval']
export type ApprovalView = Schemas['approvals.ApprovalView']
export type Decision = Schemas['approvals.Decision']
export type Step = Schemas['approvals.Step']

export type Message = Schemas['notify.Message']
export type MessageTemplate = Schemas['notify.MessageTemplate']
export type Channel = Schemas['notify.Channel']

export type Pop = Schemas['telephony.Pop']
export type Caller = Schemas['telephony.Caller']
export type Call = Schemas['telephony.Call']
export type CallState = Schemas['telephony.CallState']
export type Sms = Schemas['telephony.Sms']
export type SmsState = Schemas['telephony.SmsState']
export type SmsDecision = Schemas['telephony.SmsDecision']
export type Modem = Schemas['telephony.Modem']

export type DedupeRule = Schemas['dedupe.Rule']
export type Holder = Schemas['dedupe.Holder']

export type LiveEvent = Schemas['live.Event']
