import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { readSettings, VARIABLES } from '../../src/setup/settings.ts';

describe('settings', () => {
  it('have a default for everything', () => {
    expect(readSettings({ HOME: '/h', XDG_STATE_HOME: '/s', XDG_CACHE_HOME: '/c' })).toMatchObject({
      stateDir: '/s/repoforge',
      cacheDir: '/c/repoforge',
      temporalCli: null,
      diskFloorBytes: 5 * 2 ** 30,
      labelModel: null,
      github: { tokens: [], apiUrl: null },
      logLevel: 'warn',
    });
  });

  it.each([
    ['5GiB', 5 * 2 ** 30],
    ['800MB', 800e6],
    ['1.5G', 1.5 * 2 ** 30],
    ['1024', 1024],
    ['2 tib', 2 * 2 ** 40],
  ])('read the size %s', (text, bytes) => {
    expect(readSettings({ REPOFORGE_DISK_FLOOR: text }).diskFloorBytes).toBe(bytes);
  });

  it.each([
    [
      { REPOFORGE_DISKFLOOR: '1G' },
      /REPOFORGE_DISKFLOOR is not a setting.*did you mean REPOFORGE_DISK_FLOOR\?/,
    ],
    [{ REPOFORGE_NOTHING_LIKE_IT: '' }, /REPOFORGE_NOTHING_LIKE_IT is not a setting of RepoForge$/],
    [{ REPOFORGE_DISK_FLOOR: 'many' }, /REPOFORGE_DISK_FLOOR=many: a size is a number with a unit/],
    [{ REPOFORGE_DISK_FLOOR: '-1' }, /REPOFORGE_DISK_FLOOR=-1: a size/],
    [{ REPOFORGE_SANDBOX_SLOTS: '0' }, /REPOFORGE_SANDBOX_SLOTS=0: a whole number of at least 1/],
    [{ REPOFORGE_SANDBOX_SLOTS: 'two' }, /REPOFORGE_SANDBOX_SLOTS=two: a whole number/],
    [{ REPOFORGE_TEMPORAL_CLI: 'temporal' }, /an absolute path is needed/],
    [{ REPOFORGE_LOG_LEVEL: 'loud' }, /one of trace, debug, info/],
    [{ OPENAI_BASE_URL: 'ftp://x' }, /an http or https address is needed/],
    [{ REPOFORGE_LABEL_MODEL: 'm' }, /REPOFORGE_LABEL_MODEL needs a server/],
    [{ REPOFORGE_LABEL_PRICE_INPUT: '1' }, /belong together/],
  ])('refuse %j in a sentence that names the variable', (env, message) => {
    expect(() => readSettings(env)).toThrow(message);
  });

  it('name every wrong variable at once', () => {
    const wrong = { REPOFORGE_STAT: '/x', REPOFORGE_SANDBOX_SLOTS: '-3', REPOFORGE_LOG_LEVEL: 'loud' };
    expect(() => readSettings(wrong)).toThrow(/STAT [^]*SLOTS=-3[^]*LEVEL=loud/);
  });

  it('take an empty variable as unset', () => {
    expect(readSettings({ REPOFORGE_DISK_FLOOR: '', GITHUB_TOKEN: '' }).github.tokens).toEqual([]);
  });

  it('spend no money unless a model is named', () => {
    expect(readSettings({ OPENAI_API_KEY: 'sk-lying-around' }).labelModel).toBeNull();
  });

  it('collect tokens from both variables once each', () => {
    const { github } = readSettings({ GITHUB_TOKEN: 'ghp_a', GITHUB_TOKENS: 'ghp_b, ghp_a ghp_c' });
    expect(github.tokens.map((token) => token.reveal())).toEqual(['ghp_a', 'ghp_b', 'ghp_c']);
  });

  it('print no secret, whatever prints them', () => {
    const env = { OPENAI_API_KEY: 'sk-hush', GITHUB_TOKEN: 'ghp_hush', REPOFORGE_LABEL_MODEL: 'm' };
    const settings = readSettings(env);
    const printed = [
      JSON.stringify(settings),
      inspect(settings, { depth: 9 }),
      String(settings.labelModel?.apiKey),
    ];
    expect(printed.join('\n')).not.toContain('hush');
    expect(settings.labelModel?.apiKey?.reveal()).toBe('sk-hush');
  });

  it('repeat no value that holds credentials in an error', () => {
    const wrong = { OPENAI_BASE_URL: 'ftp://user:hush@host' };
    expect(() => readSettings(wrong)).toThrow(
      expect.not.objectContaining({ message: expect.stringContaining('hush') }),
    );
  });

  it('say for each variable what it does', () => {
    for (const variable of VARIABLES) expect(variable.doc.length, variable.name).toBeGreaterThan(20);
    expect(VARIABLES.filter((variable) => variable.secret).map((variable) => variable.name)).toEqual(
      expect.arrayContaining(['OPENAI_API_KEY', 'GITHUB_TOKEN', 'GITHUB_TOKENS', 'TEMPORAL_API_KEY']),
    );
  });
});
