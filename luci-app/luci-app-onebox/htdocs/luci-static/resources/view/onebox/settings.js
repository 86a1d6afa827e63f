'use strict';
'require view';
'require dom';
'require form';
'require uci';
'require ui';
'require onebox.daemon as daemon';
'require onebox.fields as fields';
'require onebox.words as words';

/* Every option of a router, in tabs, checked as the program checks it.
 *
 * Placeholders are the program's defaults: an empty field leaves the option out. Nothing is here
 * that the program does not read, and nothing that only a server has; the tests compare both ways.
 */

function add(section, tab, kind, name, title, description, properties) {
	const option = tab ? section.taboption(tab, kind, name, title, description) : section.option(kind, name, title, description);

	return Object.assign(option, properties);
}

/* A check that only has the text; an empty field is another's business. */
function checked(check) {
	return { validate: (section, value) => value == null || value === '' || check(value) };
}

/* UCI has many words for yes and no, the tick box only two. */
function flag(properties) {
	return Object.assign({
		load(section) {
			const value = uci.get('onebox', this.ucisection || section, this.option);

			return value == null ? value : fields.flag(value);
		}
	}, properties);
}

/* A choice of which the default is not written down. */
const CHOICE = {
	write(section, value) {
		if (value === this.default)
			this.remove(section);
		else
			uci.set('onebox', section, this.option, value);
	}
};

/* What a field says now, also of a section that is not saved. */
function said(option, section, name) {
	const other = option.section.children.find(child => child.option === name);

	return other ? other.formvalue(section) : null;
}

/* One of interface and device, and not one that another section has. */
function checkLink(option, id, value) {
	const device = value ? null : said(option, id, 'device');
	const twin = fields.twin('wan', id, { interface: value, device: device });

	if (!value && !device)
		return _('An interface or a device is needed.');

	return twin ? _('“%s” is about the same one.').format(twin['.name']) : true;
}

/* A preshared key has to be told to the server, so it is shown this once. */
function makePreshared(option, id) {
	return daemon.genpsk().then(key => {
		option.section.children.find(child => child.option === 'preshared_key').getUIElement(id).setValue(key);
		ui.showModal(_('Preshared key'), [
			E('p', [ _('The server needs the same one. It is shown only now.') ]),
			E('pre', { style: 'user-select:all' }, [ key ]),
			E('div', { class: 'right' }, [ E('button', { class: 'cbi-button', click: ui.hideModal }, [ _('Close') ]) ])
		]);
	});
}

/* A mark has no bits that the mask does not have. */
function checkMark(option, id, text) {
	const right = text ? fields.mark(text) : true;
	const mask = fields.markValue(said(option, id, 'fwmask') || '0xf0000000');
	const mark = fields.markValue(text || '0x10000000');

	if (right !== true || mask === null)
		return right;

	return (BigInt(mark) & ~BigInt(mask)) === 0n || _('The mark has to be within the bits of the mask.');
}

return view.extend({
	load() {
		return Promise.all([ uci.load('onebox'), daemon.interfaces(), daemon.pubkey() ]);
	},

	render([ , interfaces, publicKey ]) {
		const main = daemon.mainName() || uci.add('onebox', 'onebox', 'main');
		const map = new form.Map('onebox', _('Bonding: settings'),
			_('Empty fields have the value shown in grey. What has not changed is not interrupted by a change.'));
		const section = map.section(form.NamedSection, main, 'onebox');

		if (uci.get('onebox', main, 'role') === 'server')
			map.description = E('div', { class: 'alert-message warning' },
				_('This machine is a server of onebox. What only a server has is in /etc/config/onebox.'));

		section.addremove = false;
		section.tab('general', _('General'));
		section.tab('wans', _('Internet connections'), _('Every interface with a default route is used; those that are listed as it is said here.'));
		section.tab('peers', _('Server'));
		section.tab('routing', _('Routing'));
		section.tab('advanced', _('Advanced'), _('The defaults fit nearly everybody.'));

		this.general(section, publicKey);
		this.wans(section.taboption('wans', form.SectionValue, '_wans', form.GridSection, 'wan').subsection, interfaces);
		this.peers(section.taboption('peers', form.SectionValue, '_peers', form.TypedSection, 'peer').subsection);
		this.routing(section);
		this.advanced(section);

		return map.render().then(node => E('div', { class: 'ob' }, [
			E('link', { rel: 'stylesheet', href: L.resource('onebox/onebox.css') }), node
		]));
	},

	general(section, publicKey) {
		add(section, 'general', form.Flag, 'enabled', _('Switched on'),
			_('Without it, all traffic leaves as if there were no tunnel.'), flag({ default: '1', rmempty: false }));
		add(section, 'general', form.Flag, 'discover', _('Use new connections'),
			_('Every interface with a default route is used, not only those that are listed.'),
			flag({ default: '1' }));
		add(section, 'general', form.DynamicList, 'address', _('Addresses in the tunnel'),
			_('As agreed with the server, with prefix length, such as 10.99.0.2/24.'), checked(fields.address));
		add(section, 'general', form.DummyValue, '_public', _('This router\'s public key'),
			_('The server has to know it. The private half never leaves the router.'), {
				renderWidget: () => this.keyWidget(publicKey)
			});
		add(section, 'general', form.ListValue, 'fallback', _('While no server answers'),
			_('By default it goes past the tunnel, unless the kill switch is on.'), {
				optional: true,
				validate(id, value) {
					return value === 'direct' && said(this, id, 'kill_switch') === '1'
						? _('With the kill switch, traffic has to wait.') : true;
				}
			});
		this.choices(section, 'fallback', { '': _('Default'), direct: _('Traffic goes past the tunnel'), closed: _('Traffic waits for the tunnel') });
		add(section, 'general', form.Value, 'fallback_after', _('Past the tunnel after'),
			_('Seconds of silence, after which traffic leaves past the tunnel.'),
			Object.assign({ placeholder: '10' }, checked(fields.range(1, 3600)))).depends({ fallback: 'closed', '!reverse': true });
		add(section, 'general', form.Flag, 'kill_switch', _('Kill switch'),
			_('Nothing leaves past the tunnel, even if the program crashes. It ends when the program is stopped.'), flag({ default: '0' }));
	},

	choices(section, name, texts) {
		const option = section.children.find(child => child.option === name);

		for (const value in texts)
			option.value(value, texts[value]);
	},

	/* The public key, to be copied, and a way to a new one. */
	keyWidget(publicKey) {
		const shown = E('code', { style: 'overflow-wrap:anywhere' }, [ publicKey || _('There is no key yet.') ]);
		const fresh = () => ui.showModal(_('A new key?'), [
			E('p', _('The server knows this router by its key, and has to be told a new one. The old one is kept as private.key.old.')),
			E('div', { class: 'right' }, [
				E('button', { class: 'cbi-button', click: ui.hideModal }, _('Cancel')), ' ',
				E('button', { class: 'cbi-button cbi-button-negative', click: ui.createHandlerFn(this, make) }, _('Make a new key'))
			])
		]);
		const make = () => daemon.genkey().then(key => {
			ui.hideModal();
			dom.content(shown, [ key || _('There is no key yet.') ]);
		}, error => {
			ui.hideModal();
			ui.addNotification(null, E('p', [ _('That has failed: %s').format(error.message || error) ]), 'danger');
		});

		return E('div', [ shown, ' ', E('button', {
			class: 'cbi-button', disabled: L.hasViewPermission() === false ? '' : null,
			click: ev => { ev.preventDefault(); publicKey ? fresh() : make() }
		}, publicKey ? _('New key…') : _('Make a key')) ]);
	},

	wans(grid, interfaces) {
		grid.addremove = true;
		grid.sortable = true;
		grid.nodescriptions = true;
		grid.addbtntitle = _('Add a connection');
		grid.modaltitle = name => _('Internet connection “%s”').format(name);

		/* In the list: what it is about, in few words. */
		add(grid, null, form.DummyValue, '_link', _('Interface'), null, {
			modalonly: false, textvalue: id => this.linkOf(id, interfaces)
		});

		const link = add(grid, null, form.ListValue, 'interface', _('Interface'), _('As it is called in the network settings.'), {
			modalonly: true, optional: true, validate(id, value) { return checkLink(this, id, value) }
		});

		link.value('', _('– named by its device –'));
		interfaces.forEach(one => one.names.forEach(name => link.value(name, one.device ? '%s (%s)'.format(name, one.device) : name)));
		uci.sections('onebox', 'wan').map(wan => wan.interface).filter(name => name && !link.keylist.includes(name)).forEach(name => link.value(name));
		add(grid, null, form.Value, 'device', _('Device'), _('Instead of an interface: the name of a network device.'), {
			modalonly: true, validate: (id, value) => value ? fields.device(value) : true
		}).depends('interface', '');

		const mode = add(grid, null, form.ListValue, 'mode', _('Use'), _('A backup carries data when nothing else does.'), Object.assign({ editable: true, default: 'active' }, CHOICE));

		mode.value('active', _('Active'));
		mode.value('backup', _('Backup'));
		mode.value('off', _('Off'));
		add(grid, null, form.Flag, 'metered', _('Metered'), _('Its data costs money: it is measured sparingly, and nothing is sent over it twice.'), flag({ editable: true, default: '0' }));
		add(grid, null, form.DummyValue, '_limits', _('Limits'), null, { modalonly: false, textvalue: id => this.limitsOf(id) });

		const limit = Object.assign({ modalonly: true, placeholder: '0' }, checked(fields.range(0, 100000000)));

		add(grid, null, form.Value, 'max_download', _('Download limit'), _('kbit/s; 0: measured.'), limit);
		add(grid, null, form.Value, 'max_upload', _('Upload limit'), _('kbit/s; 0: measured.'), limit);
		add(grid, null, form.DummyValue, '_quota', _('Quota'), null, { modalonly: false, textvalue: id => this.quotaOf(id) });
		add(grid, null, form.Value, 'quota_mb', _('Quota'), _('Megabytes of both directions in a month. When they are used up, it is only a backup. 0: no limit.'),
			Object.assign({ modalonly: true, placeholder: '0' }, checked(fields.range(0, 0xffffffff))));
		add(grid, null, form.Value, 'quota_day', _('Quota begins anew on day'), _('Day of the month; in a shorter month its last day.'),
			Object.assign({ modalonly: true, placeholder: '1' }, checked(fields.range(1, 31))));
	},

	linkOf(id, interfaces) {
		const wan = uci.get('onebox', id) || {};
		const known = interfaces.find(one => one.names.includes(wan.interface));

		return known && known.device ? '%h (%h)'.format(wan.interface, known.device) : '%h'.format(wan.interface || wan.device || '–');
	},

	limitsOf(id) {
		const [ down, up ] = [ 'max_download', 'max_upload' ].map(name => +uci.get('onebox', id, name) || 0);
		const text = (arrow, value) => value ? '%s %s'.format(arrow, words.rate(value)) : null;

		return [ text('↓', down), text('↑', up) ].filter(part => part).join(', ') || _('measured');
	},

	quotaOf(id) {
		const quota = +uci.get('onebox', id, 'quota_mb') || 0;

		return quota ? _('%s from day %s').format(words.volume(quota), uci.get('onebox', id, 'quota_day') || '1') : _('none');
	},

	peers(section) {
		section.addremove = true;
		section.anonymous = false;
		section.addbtntitle = _('Add a server');

		add(section, null, form.DynamicList, 'endpoint', _('Reached at'),
			_('Host and port; several in order of preference.'), Object.assign({ placeholder: 'vps.example.net:51830', rmempty: false }, checked(fields.endpoint)));
		add(section, null, form.Value, 'public_key', _('Its public key'), null, {
			rmempty: false,
			validate: (id, value) => {
				const twin = fields.twin('peer', id, { public_key: value });

				return twin ? _('“%s” has this key.').format(twin['.name']) : fields.key(value || '');
			}
		});
		add(section, null, form.Value, 'preshared_key', _('Preshared key'),
			_('A secret that both ends have in addition.'), Object.assign({ password: true }, checked(fields.key)));
		add(section, null, form.Button, '_psk', ' ', null, {
			inputtitle: _('Make a preshared key'), inputstyle: 'action',
			onclick(ev, id) { return makePreshared(this, id) }
		});
		add(section, null, form.DynamicList, 'allowed_ips', _('Networks behind it'),
			_('What is sent through the tunnel: 0.0.0.0/0 and ::/0 are everything.'), {
				rmempty: false, validate: (id, value) => !value || this.checkPrefix(id, value)
			});
		add(section, null, form.Flag, 'route_allowed_ips', _('Set routes to them'),
			_('Without them, only what other routes send there goes through the tunnel.'), flag({ default: '1' }));
	},

	checkPrefix(id, value) {
		const right = fields.prefix(value);
		const twin = right === true && uci.sections('onebox', 'peer').find(peer =>
			peer['.name'] !== id && L.toArray(peer.allowed_ips).includes(value));

		return twin ? _('“%s” has this network.').format(twin['.name']) : right;
	},

	routing(section) {
		const value = (name, title, description, placeholder, check) => add(section, 'routing', form.Value, name, title, description,
			Object.assign({ placeholder: placeholder }, checked(check)));

		value('device', _('Device'), _('Name of the tunnel\'s device.'), 'onebox0', fields.device);
		value('netifd', _('Interface'), _('One with the protocol “onebox” in the network settings, where addresses, routes and zone are set then. Empty: the program sets them itself.'), '', fields.interface);
		value('mtu', _('Packet size'), _('Bytes; 0: as large as all connections carry.'), '0', fields.mtu);
		add(section, 'routing', form.Flag, 'mss_clamp', _('Clamp TCP segments'), _('Without it, connections to hosts that filter ICMP hang.'), flag({ default: '1' }));
		value('table', _('Routing table'), null, '51', fields.table);
		value('rule_priority', _('Rule priority'), _('Below 1001 the tunnel comes before mwan3, above 3999 after it.'), '900', fields.range(1, 32764));
		Object.assign(value('fwmark', _('Firewall mark'), _('Of the tunnel\'s own datagrams, which must not enter the tunnel.'), '0x10000000', null),
			{ validate(id, text) { return checkMark(this, id, text) } });
		value('fwmask', _('Firewall mask'), _('The bits of the mark that are the tunnel\'s.'), '0xf0000000', text => fields.mark(text));
	},

	advanced(section) {
		const value = (name, title, description, placeholder, check) => add(section, 'advanced', form.Value, name, title, description,
			Object.assign({ placeholder: placeholder }, checked(check)));
		const level = add(section, 'advanced', form.ListValue, 'log_level', _('Log'), null, Object.assign({ default: 'info' }, CHOICE));

		level.value('error', _('Errors only'));
		level.value('warn', _('Warnings'));
		level.value('info', _('Changes of state'));
		level.value('debug', _('Decisions'));
		level.value('trace', _('Every packet'));
		value('memory_mb', _('Memory for packets'), _('MiB, 4 to 1024. Too little limits the rate over links with a long delay.'), '16', fields.range(4, 1024));
		value('hold_ms_max', _('Longest wait for order'), _('Milliseconds that a packet may wait for its predecessors, 10 to 5000.'), '500', fields.range(10, 5000));
		value('probe_interval', _('Idle connections are probed every'), _('Seconds, 1 to 300. Each probe costs about 100 bytes.'), '15', fields.range(1, 300));
		value('private_key_file', _('File of the private key'), null, '/etc/onebox/private.key', fields.path)
			.depends('private_key', '');
		Object.assign(value('private_key', _('Private key'), _('Instead of a file. A file of its own is better kept.'), '', fields.key), { password: true });
		value('control', _('Control socket'), null, '/var/run/onebox.sock', fields.socket);
		value('ubus_socket', _('Socket of ubus'), null, '/var/run/ubus/ubus.sock', fields.socket);
		value('state_dir', _('Directory of what is kept'), _('What WANs with a quota have used; written at most once an hour.'), '/etc/onebox', fields.path);
	}
});
