/**
 * Unbiased estimate of the chance that one of `k` answers is right, from `n` answers of which `c` are:
 * 1 - C(n-c, k) / C(n, k), as a product (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", section 2.1).
 * NaN where there are fewer than `k` answers.
 */
export function passAtK(n: number, c: number, k: number): number {
  if (n < k) return Number.NaN;
  if (n - c < k) return 1;
  let allWrong = 1;
  for (let i = n - c + 1; i <= n; i += 1) allWrong *= 1 - k / i;
  return 1 - allWrong;
}

/** One line of a pass@k table. */
export interface PassAtK {
  readonly k: number;
  /** Mean over the instances with at least k graded answers. */
  readonly value: number;
  readonly instances: number;
}

/** pass@1, 2, 4, … and at the largest k, each over the instances that have so many graded answers. */
export function passAtKTable(
  answers: readonly { readonly n: number; readonly c: number }[],
): readonly PassAtK[] {
  const most = Math.max(0, ...answers.map(({ n }) => n));
  const ks = [...new Set([...powersUpTo(most), most])].filter((k) => k > 0);
  return ks.map((k) => {
    const values = answers.filter(({ n }) => n >= k).map(({ n, c }) => passAtK(n, c, k));
    const value = values.reduce((sum, one) => sum + one, 0) / values.length;
    return { k, value, instances: values.length };
  });
}

function powersUpTo(most: number): readonly number[] {
  const powers: number[] = [];
  for (let k = 1; k <= most; k *= 2) powers.push(k);
  return powers;
}
