/** Sections of an INI file as Python's configparser reads them: continuation lines join with a line break. */
export type Ini = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** Reads setup.cfg, tox.ini and the like. Lenient: what is not a section, key or continuation is skipped. */
export function parseIni(text: string): Ini {
  const sections = new Map<string, Map<string, string>>();
  let section: Map<string, string> | undefined;
  let key: string | undefined;
  for (const raw of text.split(/\r?\n/)) {
    if (/^\s*[#;]/.test(raw)) continue;
    const header = /^\[([^\]]+)\]\s*$/.exec(raw);
    if (header?.[1] !== undefined) {
      const name = header[1].trim();
      section = sections.get(name) ?? new Map<string, string>();
      sections.set(name, section);
      key = undefined;
    } else if (/^\s+\S/.test(raw) && key !== undefined && section !== undefined) {
      section.set(key, `${section.get(key) ?? ''}\n${raw.trim()}`);
    } else {
      const pair = /^([^\s=:][^=:]*?)\s*[=:]\s*(.*)$/.exec(raw);
      if (pair?.[1] === undefined || section === undefined) continue;
      key = pair[1].trim().toLowerCase();
      section.set(key, (pair[2] ?? '').trim());
    }
  }
  return sections;
}

/** Non-empty lines of a multi-line value, without inline comments. */
export const iniLines = (value: string | undefined): readonly string[] =>
  (value ?? '')
    .split('\n')
    .map((line) => line.replace(/\s+[#;].*$/, '').trim())
    .filter((line) => line !== '');
