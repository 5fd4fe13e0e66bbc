# One image for the four services; which one a container is, its command says: services/<name>/main.ts
FROM node:20-bookworm-slim
WORKDIR /app
COPY package.json package-lock.json ./
# onnxruntime-node brings its CPU libraries along; its install script would download the CUDA ones from elsewhere.
RUN ONNXRUNTIME_NODE_INSTALL=skip npm ci --omit=dev --no-audit --no-fund && npm cache clean --force
COPY tsconfig.json ./
COPY base_models base_models
COPY shared shared
COPY services services
RUN mkdir /data && chown node:node /data
ENV NODE_ENV=production DATA_DIR=/data HOST=0.0.0.0
VOLUME /data
USER node
ENTRYPOINT ["node", "--import", "tsx"]
CMD ["services/gateway/main.ts"]
