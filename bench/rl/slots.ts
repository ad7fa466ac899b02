/** So many at once; the others wait in the order in which they came. */
export function createSlots(count: number): { take(): Promise<void>; free(): void } {
  let left = count;
  const waiting: (() => void)[] = [];
  return {
    async take() {
      if (left > 0) left -= 1;
      else await new Promise<void>((resolve) => waiting.push(resolve));
    },
    free() {
      const next = waiting.shift();
      if (next === undefined) left += 1;
      else next();
    },
  };
}
