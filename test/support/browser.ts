import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';

/** A Chromium of the distribution; undefined where none is installed. */
export const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
);

/** A page of a phone's width that notes what it asks for and what the browser complains about. */
export interface ListeningPage {
  readonly browser: Browser;
  readonly page: Page;
  readonly requests: readonly string[];
  readonly complaints: readonly string[];
  scrollsSideways(): Promise<boolean>;
}

export async function openPage(): Promise<ListeningPage> {
  const requests: string[] = [];
  const complaints: string[] = [];
  const browser = await chromium.launch({
    executablePath: CHROMIUM ?? '',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
    ],
  });
  const page = await browser.newPage({ viewport: { width: 375, height: 700 } });
  page.on('request', (request) => requests.push(request.url()));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  return {
    browser,
    page,
    requests,
    complaints,
    scrollsSideways: () =>
      page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'),
  };
}
