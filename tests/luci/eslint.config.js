// LuCI's own rules for its pages: eslint's recommended ones with these exceptions, on scripts whose
// body is that of a function (a module of LuCI returns its class).

import js from '@eslint/js';
import json from '@eslint/json';
import globals from 'globals';

// What LuCI gives every module, and the names under which ours know each other.
const provided = [ '_', 'N_', 'L', 'E', 'TR', 'baseclass', 'dom', 'firewall', 'form', 'fs', 'network', 'poll', 'request', 'session', 'rpc', 'uci', 'ui',
	'validation', 'view', 'widgets', 'daemon', 'words', 'chart', 'past', 'fields', 'parts', 'zone' ];

export default [
	{
		files: [ '**/*.js' ],
		plugins: { js },
		languageOptions: {
			sourceType: 'script', ecmaVersion: 2022, parserOptions: { ecmaFeatures: { globalReturn: true } },
			globals: { ...globals.browser, ...Object.fromEntries(provided.map(name => [ name, 'readonly' ])) }
		},
		linterOptions: { reportUnusedDisableDirectives: 'off' },
		rules: {
			...js.configs.recommended.rules,
			'strict': 0, 'no-prototype-builtins': 0, 'no-empty': 0, 'no-undef': 'error', 'no-unused-vars': 'off', 'no-regex-spaces': 0, 'no-control-regex': 0
		}
	},
	{ files: [ '**/*.json' ], plugins: { json }, language: 'json/json', rules: json.configs.recommended.rules }
];
