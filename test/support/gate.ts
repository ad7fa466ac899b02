/** Holds named callers until they are let through: the only way a test says who ends when. */
export interface Gate {
  /** Waits until `name` is open. */
  pass(name: string): Promise<void>;
  open(name: string): Gate;
  openAll(): void;
  /** Names that wait now. */
  waiting(): readonly string[];
}

export function createGate(): Gate {
  const open = new Set<string>();
  let all = false;
  const waiting = new Map<string, () => void>();
  const gate: Gate = {
    pass(name) {
      if (all || open.has(name)) return Promise.resolve();
      return new Promise((resolve) => waiting.set(name, resolve));
    },
    open(name) {
      open.add(name);
      waiting.get(name)?.();
      waiting.delete(name);
      return gate;
    },
    openAll() {
      all = true;
      for (const resolve of waiting.values()) resolve();
      waiting.clear();
    },
    waiting: () => [...waiting.keys()],
  };
  return gate;
}
