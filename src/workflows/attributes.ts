import { SearchAttributeType, defineSearchAttributeKey } from '@temporalio/common';

/** Typed keys of the search attributes that `SEARCH_ATTRIBUTES` of the messages file names. */
export const attributes = {
  campaign: defineSearchAttributeKey('RepoforgeCampaign', SearchAttributeType.KEYWORD),
  repo: defineSearchAttributeKey('RepoforgeRepo', SearchAttributeType.KEYWORD),
  stage: defineSearchAttributeKey('RepoforgeStage', SearchAttributeType.KEYWORD),
  verdict: defineSearchAttributeKey('RepoforgeVerdict', SearchAttributeType.KEYWORD),
  reward: defineSearchAttributeKey('RepoforgeReward', SearchAttributeType.DOUBLE),
} as const;
