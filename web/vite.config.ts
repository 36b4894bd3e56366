import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// `npm run dev` serves the sources and asks a `trackkit ui` on this address for data.
const server = process.env.TRACKKIT_SERVER ?? 'http://127.0.0.1:5757';

export default defineConfig({
  plugins: [svelte()],
  server: { proxy: { '/api': server, '/docs': server, '/health': server } },
  build: {
    outDir: '../trackkit/backend/server/dashboard',
    emptyOutDir: true,
    target: 'es2022',
    // Small assets stay files: the content security policy allows no data: address in a style.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // What is bundled asks that its licences come along.
    license: { fileName: 'licenses.md' },
  },
});
