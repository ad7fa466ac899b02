/** Whether a failure says nothing but that the version string is an old one. Pure. */

/**
 * True when a test fails before gold for its version string alone: the failure names both versions and reads the same once
 * both are taken out, or the test is about the version by its name and the failure names one of them.
 * A model cannot know which version the maintainers chose, so such a test is unfair whatever it learns.
 */
export function isVersionOnly(
  id: string,
  message: string,
  versions: { readonly base: string; readonly head: string },
): boolean {
  const { base, head } = versions;
  if (message === '' || (base === '' && head === '')) return false;
  const names = (version: string): boolean => version !== '' && tokenOf(version).test(message);
  if (base !== '' && head !== '' && base !== head && names(base) && names(head)) {
    return comparesOnlyVersions(message, base, head);
  }
  const testName = id.slice(id.lastIndexOf('::') + 2);
  return /version/i.test(testName) && (names(base) || names(head));
}

/** A version as a word of its own: `5.3` is not in `15.3` nor in `5.3.1`. */
const tokenOf = (version: string): RegExp =>
  new RegExp(`(?<![\\w.])v?${version.replaceAll(/[^\w]/g, '\\$&')}(?!\\w|\\.\\d)`);

/** `assert '5.3.0' == '5.3.1'`: the two sides of the first comparison are the same text but for the version. */
function comparesOnlyVersions(message: string, base: string, head: string): boolean {
  const line = message.split('\n').find((one) => /==|!=/.test(one)) ?? message.split('\n')[0] ?? '';
  const sides = line.replace(/^.*?(AssertionError:|assert)\s*(assert\s+)?/, '').split(/\s*(?:==|!=)\s*/);
  const [left, right] = sides;
  if (left === undefined || right === undefined) return false;
  const blank = (text: string): string =>
    text
      .replaceAll(new RegExp(tokenOf(base).source, 'g'), '<version>')
      .replaceAll(new RegExp(tokenOf(head).source, 'g'), '<version>')
      .trim();
  return (
    blank(left).includes('<version>') &&
    blank(right).includes('<version>') &&
    sameOrBare(blank(left), blank(right))
  );
}

const sameOrBare = (left: string, right: string): boolean =>
  left === right || /^['"]?<version>['"]?$/.test(right) || /^['"]?<version>['"]?$/.test(left);
