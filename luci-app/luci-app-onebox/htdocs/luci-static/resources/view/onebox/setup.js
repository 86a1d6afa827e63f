'use strict';
'require view';
'require dom';
'require uci';
'require ui';
'require onebox.daemon as daemon';
'require onebox.fields as fields';
'require onebox.zone as zone';

/* From nothing to a working tunnel: a code, the internet connections, done.
 *
 * How: the code goes to the program, which says what is in it without its secrets, and later writes
 * the configuration from it, keys included. Then the page writes the choice of connections and of
 * the firewall's zone beside it as every page does, has both applied, and starts the service. Who has no code fills in the
 * settings, which have all that would be in one.
 *
 * Limits: a code holds a private key: it is in this page's memory until the page is left, and is
 * sent to the router only, over whatever the browser talks to it with.
 */

/* A mistake shown at a field. */
function mark(field, place, words) {
	field.classList.toggle('cbi-input-invalid', !!words);
	field.setAttribute('aria-invalid', !!words);
	dom.content(place, [ words || '' ]);
}

function step(number, title) {
	return E('h3', { class: 'ob-step' }, [ E('b', [ String(number) ]), title ]);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load() {
		return Promise.all([ uci.load('onebox'), daemon.interfaces(), zone.load() ]);
	},

	render([ , interfaces ]) {
		this.code = '';
		this.writable = L.hasViewPermission() !== false;
		this.result = E('div', { role: 'status', 'aria-live': 'polite' });
		this.go = E('button', {
			class: 'cbi-button cbi-button-positive important', disabled: '',
			click: ui.createHandlerFn(this, 'handleGo')
		}, [ _('Save and start') ]);

		return E('div', { class: 'ob' }, [
			E('link', { rel: 'stylesheet', href: L.resource('onebox/onebox.css') }),
			E('h2', { name: 'content' }, [ _('Bonding: set-up') ]),
			E('div', { class: 'cbi-map-descr' }, [ _('The other end is a small Linux server with onebox. There, “onebox invite NAME” prints a code for this router.') ]),
			this.renderExisting(),
			E('div', { class: 'cbi-section' }, [
				step(1, _('The code'))
			].concat(this.renderCode(), E('p', [ _('Without a code, the same can be entered by hand:'), ' ',
				E('a', { href: L.url('admin/vpn/onebox/settings') }, [ _('Settings') ]) ]))),
			E('div', { class: 'cbi-section' }, [
				step(2, _('Internet connections')),
				E('p', [ _('Those with a way to the internet are ticked. A backup carries data when nothing else does; a metered one is used sparingly.') ]),
				this.renderWans(interfaces),
				zone.render()
			]),
			E('div', { class: 'cbi-section' }, [ step(3, _('Save and start')), this.result, E('div', { class: 'right' }, [ this.go ]) ])
		]);
	},

	/* What is set up already, and would be replaced. */
	renderExisting() {
		const peers = uci.sections('onebox', 'peer');

		this.replace = E('input', { type: 'checkbox', id: 'ob-replace', change: () => this.update() });

		if (peers.length === 0)
			return '';

		return E('div', { class: 'alert-message warning' }, [
			E('p', [ _('A tunnel to %s is set up here already.').format(peers.map(peer =>
				L.toArray(peer.endpoint).join(', ') || peer['.name']).join('; ')) ]),
			E('p', [ this.replace, ' ', E('label', { for: 'ob-replace', style: 'float:none;display:inline' }, [ _('Replace it.') ]) ])
		]);
	},

	/* Whether everything is there that is needed to go on. */
	update() {
		const open = uci.sections('onebox', 'peer').length > 0 && !this.replace.checked;

		this.go.disabled = !this.writable || open || !this.described;
	},

	renderCode() {
		this.described = null;
		this.shown = E('div', { 'aria-live': 'polite' });
		this.error = E('div', { class: 'ob-error', role: 'alert' });
		this.field = E('textarea', {
			class: 'cbi-input-textarea ob-code', id: 'ob-code', spellcheck: 'false', autocomplete: 'off',
			autocapitalize: 'off', placeholder: 'onebox1-…', 'aria-label': _('Code'),
			input: () => this.forget()
		});

		return [
			E('p', [ _('Paste the code here. Whoever has it can be this router: treat it like a password.') ]),
			this.field, this.error,
			E('div', { class: 'right' }, E('button', {
				class: 'cbi-button cbi-button-action', disabled: this.writable ? null : '',
				click: ui.createHandlerFn(this, 'handleDescribe')
			}, [ _('What is in it?') ])),
			this.shown
		];
	},

	/* Another code: what was shown is of the former. */
	forget() {
		this.described = null;
		mark(this.field, this.error, null);
		dom.content(this.shown, null);
		this.update();
	},

	handleDescribe() {
		const code = this.field.value.replace(/\s+/g, '');

		if (code === '') {
			mark(this.field, this.error, _('There is no code yet.'));
			return;
		}

		return daemon.describe(code).then(said => {
			if (said.error || !said.server_public_key)
				return mark(this.field, this.error, said.error || _('The program did not say what is in it.'));


			this.code = code;
			this.described = said;
			mark(this.field, this.error, null);
			dom.content(this.shown, E('dl', { class: 'ob-pair' }, [
				[ _('This router\'s name at the server'), said.name ],
				[ _('Server'), L.toArray(said.endpoints).join(', ') ],
				[ _('Its public key'), said.server_public_key ],
				[ _('Addresses in the tunnel'), L.toArray(said.addresses).join(', ') ],
				[ _('This router\'s public key'), said.public_key ],
				[ _('Secrets'), _('A private key and a preshared key, which are not shown.') ]
			].flatMap(([ title, value ]) => [ E('dt', [ title ]), E('dd', [ value ]) ])));
			this.update();
		}, error => mark(this.field, this.error, error.message || String(error)));
	},

	renderWans(interfaces) {
		const sections = uci.sections('onebox', 'wan');
		const choices = this.choices = interfaces.map(one => {
			const section = sections.find(wan => wan.interface ? one.names.includes(wan.interface) : wan.device && wan.device === one.device);
			const mode = section ? section.mode || 'active' : one.internet ? 'active' : 'off';

			return Object.assign({
				section: section ? section['.name'] : null,
				use: mode !== 'off',
				mode: mode === 'backup' ? 'backup' : 'active',
				metered: section ? fields.flag(section.metered || '0') === '1' : one.mobile
			}, one);
		}).sort((a, b) => (b.use - a.use) || (b.internet - a.internet));

		if (choices.length === 0)
			return E('p', [ _('No interfaces were found. Every one with a default route will be used.') ]);

		return E('div', { class: 'ob-wans' }, choices.map(choice => this.renderWan(choice)));
	},

	renderWan(choice) {
		const told = [ choice.device, choice.up ? _('up') : _('down'), choice.internet ? null : _('no way to the internet') ];
		const row = E('div', { class: 'ob-wan', 'data-name': choice.name });
		const mode = E('select', { class: 'cbi-input-select', 'aria-label': _('Use of %s').format(choice.name), change: ev => { choice.mode = ev.target.value } },
			[ [ 'active', _('Active') ], [ 'backup', _('Backup') ] ].map(([ value, title ]) =>
				E('option', { value: value, selected: choice.mode === value ? '' : null }, [ title ])));
		const metered = E('input', { type: 'checkbox', checked: choice.metered ? '' : null, change: ev => { choice.metered = ev.target.checked } });
		const show = () => {
			row.classList.toggle('ob-unused', !choice.use);
			mode.disabled = metered.disabled = !choice.use;
		};

		dom.content(row, [
			E('label', [
				E('input', { type: 'checkbox', checked: choice.use ? '' : null, change: ev => { choice.use = ev.target.checked; show() } }),
				E('span', [ E('strong', [ choice.names.join(', ') ]), ' ', E('span', { class: 'ob-sub' }, [ told.filter(part => part).join(', ') ]) ])
			]),
			mode,
			E('label', [ metered, ' ', _('Metered') ])
		]);
		show();

		return row;
	},

	/* Writes down what was chosen: nothing about an interface that would not be used anyway. */
	writeWans() {
		for (const choice of this.choices) {
			if (!choice.use && !choice.internet && !choice.section)
				continue;
			if (!choice.section) {
				choice.section = uci.add('onebox', 'wan', fields.sectionName(choice.name));
				uci.set('onebox', choice.section, 'interface', choice.name);
			}

			const set = (option, value, usual) => {
				if (value !== usual || uci.get('onebox', choice.section, option) != null)
					uci.set('onebox', choice.section, option, value);
			};

			set('mode', choice.use ? choice.mode : 'off', null);
			set('metered', choice.metered ? '1' : '0', '0');
		}
	},

	/* The steps, each told when it begins and ends; the first that fails ends it. */
	handleGo() {
		const list = E('ul', { class: 'ob-done' });
		const steps = [
			[ _('The configuration is written from the code.'), () => this.join() ],
			[ _('The internet connections are written down.'), () => {
				this.writeWans();
				zone.write();

				return uci.save();
			} ],
			[ _('It is applied.'), () => uci.changes().then(changes => Object.keys(changes).length ? daemon.apply() : null) ],
			[ _('The program checks it.'), () => daemon.check().then(said => {
				if (said.usable === false)
					throw new Error(said.problems);
			}) ],
			[ _('The service is started, now and whenever the router starts.'), () => daemon.startForGood() ]
		];

		dom.content(this.result, list);
		this.go.disabled = true;

		return steps.reduce((before, [ title, run ]) => before.then(() => {
			const item = list.appendChild(E('li', [ title ]));

			return Promise.resolve().then(run).then(
				() => item.classList.add('ob-ok'),
				error => {
					item.classList.add('ob-no');
					throw error;
				});
		}), Promise.resolve()).then(
			() => {
				this.field.value = this.code = '';
				this.go.style.display = 'none';
				this.result.appendChild(E('p', [ _('The router is set up.'), ' ', E('a', {
					class: 'cbi-button cbi-button-action', href: L.url('admin/vpn/onebox/status')
				}, [ _('See it at work') ]) ]));
			},
			error => {
				this.go.disabled = false;
				this.result.appendChild(E('p', { class: 'ob-error', role: 'alert', style: 'white-space:pre-wrap' }, [ error.message || String(error) ]));
			});
	},

	/* What the program wrote is read again, so that the rest is added to it. */
	join() {
		return daemon.join(this.code, this.replace.checked).then(said => {
			if (!said.done)
				throw new Error(said.error || _('The program did not take the code.'));

			uci.unload('onebox');

			return uci.load('onebox').then(() => {
				/* Sections of connections stay; those that it does not have are made anew. */
				for (const choice of this.choices)
					if (choice.section && uci.get('onebox', choice.section) == null)
						choice.section = null;
			});
		});
	}
});
