/** Remembers the last `size` answers by key; a failure is not remembered, and askers at the same time share one answer. */
export function createMemo<Input, Output>(
  size: number,
  work: (input: Input) => Promise<Output>,
): (key: string, input: Input) => Promise<Output> {
  const known = new Map<string, Promise<Output>>();
  return async (key, input) => {
    const answer = known.get(key) ?? work(input);
    known.delete(key);
    known.set(key, answer); // the newest is last
    const oldest = known.keys().next().value;
    if (known.size > size && oldest !== undefined) known.delete(oldest);
    answer.catch(() => {
      if (known.get(key) === answer) known.delete(key);
    });
    return answer;
  };
}
