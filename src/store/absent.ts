const ABSENT = new Set(['ENOENT', 'ENOTDIR']);

/**
 * For `catch`: `value` where a file or directory is not there. Everything else is thrown on: a disk that fails, or a process
 * without a handle left, must not look like an empty directory to whoever deletes what nothing refers to.
 */
export const ifAbsent =
  <T>(value: T) =>
  (error: unknown): T => {
    if (ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return value;
    throw error;
  };
