declare module '@octokit/fixtures' {
  interface Recorded {
    readonly method: string;
    readonly path: string;
    readonly status: number;
    readonly response: unknown;
    readonly headers: Readonly<Record<string, string | number>>;
  }
  const fixtures: { get(name: string): readonly Recorded[] };
  export default fixtures;
}
