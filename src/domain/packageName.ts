/** A name as the index spells it (PEP 503): `More_Itertools` → `more-itertools`. */
export const normaliseName = (name: string): string => name.toLowerCase().replace(/[-_.]+/g, '-');

/** Whether an index can know a project of this name (PEP 508). */
export const isPackageName = (name: string): boolean =>
  /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(normaliseName(name));
