/** GitHub's closing keywords: docs.github.com, "Linking a pull request to an issue". */
const KEYWORD = String.raw`(?<![\w-])(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?)`;

/** Template hints, quoted replies and code show how to link; they do not link. */
function proseOf(text: string): string {
  return text
    .replace(/<!--[\s\S]*?(?:-->|$)/g, ' ')
    .replace(/^(`{3,}|~{3,})[\s\S]*?(?:^\1[`~]*[ \t]*$|(?![\s\S]))/gm, ' ')
    .replace(/`[^`\n]*`/g, ' ')
    .replace(/^[ \t]*>.*$/gm, ' ');
}

const escape = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);

/**
 * Numbers of the issues that texts (PR title, body, commit messages) close, in order of first mention, without repeats.
 * Forms: `fixes #1`, `Closes: GH-1`, `resolved owner/repo#1`, `fix https://github.com/owner/repo/issues/1`. Like GitHub,
 * each number needs its own keyword, and a reference to another repository is not a link here.
 *
 * @param repo `owner/name`, compared without regard to case.
 * @param webHost host of full URLs, `github.com` unless a GitHub Enterprise server is mined.
 */
export function linkedIssues(
  texts: readonly string[],
  repo: string,
  webHost: string = 'github.com',
): readonly number[] {
  const url = String.raw`https?://(?:www\.)?${escape(webHost)}/${escape(repo)}/issues/(?<url>\d+)`;
  const short = String.raw`(?:${escape(repo)})?#(?<short>\d+)|gh-(?<gh>\d+)`;
  const pattern = new RegExp(String.raw`${KEYWORD}(?:\s*:\s*|\s+)(?:${url}|${short})(?![\w-])`, 'gi');
  const found = new Set<number>();
  for (const text of texts) {
    for (const match of proseOf(text).matchAll(pattern)) {
      const number = Number(match.groups?.['url'] ?? match.groups?.['short'] ?? match.groups?.['gh']);
      if (Number.isSafeInteger(number) && number > 0) found.add(number);
    }
  }
  return [...found];
}
