import type { RuntimeBase } from './types.ts';

/** Rises when what goes into a base image changes: part of every logical base, so of every environment key. */
export const BASE_RULE_VERSION = 1;

/** A Debian suite whose own Python is one of ours, or for which a registry has images of it. */
export interface Runtime extends RuntimeBase {
  readonly suite: string;
  /** False where only an image from a registry has this Python: the suite's own is another one. */
  readonly bootstrappable: boolean;
}

const runtime = (
  suite: string,
  runtimeVersion: string,
  releasedAt: string,
  bootstrappable = true,
): Runtime => ({
  base: `debian-${suite}/${BASE_RULE_VERSION}`,
  suite,
  runtimeVersion,
  releasedAt,
  bootstrappable,
});

/** Oldest first. Release dates are those of the `x.y.0` releases (PEP 569, 596, 619, 664, 693, 719, 745). */
export const RUNTIMES: readonly [Runtime, ...Runtime[]] = [
  runtime('bookworm', '3.8', '2019-10-14T00:00:00Z', false),
  runtime('bullseye', '3.9', '2020-10-05T00:00:00Z'),
  runtime('bookworm', '3.10', '2021-10-04T00:00:00Z', false),
  runtime('bookworm', '3.11', '2022-10-24T00:00:00Z'),
  runtime('bookworm', '3.12', '2023-10-02T00:00:00Z', false),
  runtime('trixie', '3.13', '2024-10-07T00:00:00Z'),
  runtime('forky', '3.14', '2025-10-07T00:00:00Z'),
];
