export default {
  zh: {
    allPools: '全部公海',
    claim: '领取',
    claimSelected: '领取所选（{n}）',
    limit: '每次最多领取 {max} 个',
    daily: '每人每天可领 {n} 个',
    claimed: '已领取',
    results: '领取结果',
    summary: '成功 {done} 个，失败 {failed} 个',
  },
  en: {
    allPools: 'All pools',
    claim: 'Claim',
    claimSelected: 'Claim selected ({n})',
    limit: 'At most {max} at a time',
    daily: '{n} claims a person a day',
    claimed: 'Claimed',
    results: 'Claim results',
    summary: '{done} claimed, {failed} not',
  },
}
