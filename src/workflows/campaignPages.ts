/** Pages of sources: fetched ahead of the window, one at a time for each source, by their recorded number. */
import { isCancellation, log, rootCause } from '@temporalio/workflow';
import { cutText } from '../domain/failures.ts';
import { admissibleSources, labelOf } from './campaignWindow.ts';
import type { Window } from './campaignWindow.ts';
import { miningOn } from './proxies.ts';

/** Starts fetching the page of every source whose next entry may be admitted and is not here. */
export function fetchPages(window: Window): void {
  if (window.stopping !== null || window.ending) return;
  for (const source of admissibleSources(window)) {
    if (window.pages.has(source) || window.fetching.has(source)) continue;
    window.fetching.set(source, fetchPage(window, source));
  }
}

async function fetchPage(window: Window, index: number): Promise<void> {
  const { input } = window;
  const source = input.sources[index];
  const progress = window.sources[index];
  if (source === undefined || progress === undefined) return;
  try {
    const page = await miningOn(input.queuePrefix).minePage({
      campaign: input.name,
      sourceIndex: index,
      source,
      page: progress.page,
      cursor: progress.cursor,
      options: input.options,
    });
    window.pages.set(index, page);
    skipEmptyEnd(window, index);
  } catch (error) {
    if (isCancellation(error)) return; // the whole campaign is being cancelled, and its main scope says so
    const reason = cutText(rootCause(error) ?? String(error), 500);
    log.error('a source failed', { source: labelOf(window, index), reason });
    window.failedSources = [...window.failedSources, { label: labelOf(window, index), reason }];
    progress.exhausted = true;
  } finally {
    window.fetching.delete(index);
    window.changed = true;
  }
}

/** After a page's last entry: on to the next page, or the end. */
export function skipEmptyEnd(window: Window, index: number): void {
  const page = window.pages.get(index);
  const progress = window.sources[index];
  if (page === undefined || progress === undefined || progress.taken < page.entries.length) return;
  window.pages.delete(index);
  if (page.nextCursor === null) {
    progress.exhausted = true;
    return;
  }
  progress.cursor = page.nextCursor;
  progress.page += 1;
  progress.taken = 0;
}
