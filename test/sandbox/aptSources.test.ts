import { describe, expect, it } from 'vitest';
import { debianMirror, parseDeb822, parseOneLine } from '../../src/sandbox/aptSources.ts';

const SUITES = ['bookworm', 'trixie'];

describe('the Debian mirror of the host', () => {
  it('is read from one-line sources, with options and comments', () => {
    const sources = parseOneLine(`
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ bookworm main contrib
`);
    expect(debianMirror(sources, SUITES)).toBe('http://mirror.example/debian');
  });

  it('is read from deb822 stanzas, with folded fields and comments inside', () => {
    const sources = parseDeb822(`Types: deb
# http://snapshot.example/
URIs: http://security.example/debian-security
Suites: trixie-security
Components: main

Types: deb deb-src
URIs:
 http://mirror.example/debian
Suites: trixie trixie-updates
Components: main
`);
    expect(debianMirror(sources, SUITES)).toBe('http://mirror.example/debian');
  });

  it.each([
    [
      'a disabled stanza',
      'Enabled: no\nTypes: deb\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main',
    ],
    ['sources only', 'Types: deb-src\nURIs: http://a.example/debian\nSuites: trixie\nComponents: main'],
    [
      'another distribution',
      'Types: deb\nURIs: http://a.example/ubuntu\nSuites: noble\nComponents: main universe',
    ],
    [
      'a third party for the same suite',
      'Types: deb\nURIs: http://a.example/tool\nSuites: trixie\nComponents: stable',
    ],
    ['nothing', ''],
  ])('is not %s', (_case, text) => {
    expect(debianMirror(parseDeb822(text), SUITES)).toBeNull();
  });
});
