export function stampOf(lockText: string, platform?: string, arch?: string): string;
export function installedMatchesLock(lockText: string, installedText: string): boolean;
export function slim(modules: string, platform?: string, arch?: string): void;
export function boot(root: string): boolean;
