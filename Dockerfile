# syntax=docker/dockerfile:1
# RepoForge's workers and CLI. glibc, because Temporal's native bridge does not load on musl.
FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# a private npm registry: docker compose build --secret id=npmrc,src=$HOME/.npmrc
RUN --mount=type=secret,id=npmrc NPM_CONFIG_USERCONFIG=/run/secrets/npmrc npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY scripts/boot.mjs scripts/bundle.ts scripts/
COPY src src
# the image brings its own Node 24, and one platform's native bridge is enough
RUN npm run build \
    && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
    && rm -rf node_modules/node-linux-* \
    && node -e "import('./scripts/boot.mjs').then(({ slim }) => slim('node_modules'))"

FROM node:24-bookworm-slim
# git: mining and mirrors; python3 and pip: only asked where the package index is; mmdebstrap: base images without a registry
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates debian-archive-keyring git mmdebstrap python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json ./
COPY bin bin
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
ENV NODE_ENV=production
# root, since whoever may use the Docker socket is root on the host anyway
ENTRYPOINT ["node", "bin/repoforge.mjs"]
CMD ["--help"]
