// The browser, and pages in it: each in a context of its own, with every error that it shows noted.

import { chromium } from 'playwright-core';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serve } from './server.mjs';

const FLAGS = [ '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
	'--disable-component-update', '--disable-sync', '--disable-dev-shm-usage' ];

export class Browser {
	static async start() {
		const browser = new Browser();

		browser.profile = mkdtempSync(join(tmpdir(), 'onebox-luci-'));
		browser.context = await chromium.launchPersistentContext(browser.profile, {
			executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS, headless: true
		});
		browser.server = await serve();

		return browser;
	}

	async stop() {
		await this.context.close();
		this.server.close();
		rmSync(this.profile, { recursive: true, force: true });
	}

	// Opens a view on this router. Errors of the page are in page.errors.
	async open(view, router, { width = 1100, height = 900, dark = false, lang = 'en', texts = {} } = {}) {
		const number = this.server.pages.push({ view, router, lang, texts }) - 1;
		const page = await this.context.newPage();

		page.errors = [];
		page.on('pageerror', error => page.errors.push(String(error)));
		page.on('console', message => {
			// A browser reports every failed request by itself; the tests make some fail.
			if ([ 'error', 'warning' ].includes(message.type()) && !/Failed to load resource/.test(message.text()))
				page.errors.push(message.text());
		});
		page.setDefaultTimeout(12000);
		await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light', reducedMotion: 'reduce' });
		await page.setViewportSize({ width, height });
		await page.goto(`http://127.0.0.1:${this.server.port}/page/${number}`);
		await page.waitForSelector('#view > :not(.spinning):not(script), .alert-message', { state: 'attached' });

		return page;
	}
}
