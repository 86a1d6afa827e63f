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

/* Adds a field; `values` are what can be chosen. */
function add(section, tab, kind, name, title, description, properties, values) {
	const option = tab ? section.taboption(tab, kind, name, title, description) : section.option(kind, name, title, description);

	for (const value in values)
		option.value(value, values[value]);

	return Object.assign(option, properties);
}

/* A text with its default and its check, which an empty field passes. */
function text(placeholder, check, more) {
	return Object.assign({ placeholder: placeholder, validate: (section, value) => !value || check(value) }, more);
}

/* UCI has many words for yes and no, the tick box only two. */
function flag(initial, more) {
	return Object.assign({
		default: initial,
		load(section) {
			return fields.flag(uci.get('onebox', this.ucisection || section, this.option));
		}
	}, more);
}

/* A choice of which the default is not written down. */
function choice(initial, more) {
	return Object.assign({
		default: initial,
		write(section, value) {
			if (value === initial)
				this.remove(section);
			else
				uci.set('onebox', section, this.option, value);
		}
	}, more);
}

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
function checkMark(option, id, value) {
	const right = !value || fields.mark(value);
	const mask = fields.markValue(said(option, id, 'fwmask') || '0xf0000000');
	const mark = fields.markValue(value || '0x10000000');

	if (right !== true || mask === null)
		return right;

	return (BigInt(mark) & ~BigInt(mask)) === 0n || _('The mark has to be within the bits of the mask.');
}

return view.extend({
	load() {
		return Promise.all([ uci.load('onebox'), daemon.interfaces(), L.resolveDefault(daemon.pubkey()) ]);
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
		this.found(section, interfaces);
		this.wans(section.taboption('wans', form.SectionValue, '_wans', form.GridSection, 'wan').subsection, interfaces);
		this.peers(section.taboption('peers', form.SectionValue, '_peers', form.TypedSection, 'peer').subsection);
		this.routing(section);
		this.advanced(section);

		return map.render().then(node => E('div', { class: 'ob' }, [
			E('link', { rel: 'stylesheet', href: L.resource('onebox/onebox.css') }), node
		]));
	},

	general(section, publicKey) {
		const field = add.bind(null, section, 'general');

		field(form.Flag, 'enabled', _('Switched on'),
			_('Without it, all traffic leaves as if there were no tunnel.'), flag('1', { rmempty: false }));
		field(form.Flag, 'discover', _('Use new connections'),
			_('Every interface with a default route is used, not only those that are listed.'),
			flag('1'));
		field(form.DynamicList, 'address', _('Addresses in the tunnel'),
			_('As agreed with the server, with prefix length, such as 10.99.0.2/24.'), text('', fields.address));
		field(form.DummyValue, '_public', _('This router\'s public key'),
			_('The server has to know it. The private half never leaves the router.'), {
				renderWidget: () => this.keyWidget(publicKey)
			});
		field(form.ListValue, 'fallback', _('While no server answers'),
			_('By default it goes past the tunnel, unless the kill switch is on.'), {
				optional: true,
				validate(id, value) {
					return value === 'direct' && said(this, id, 'kill_switch') === '1'
						? _('With the kill switch, traffic has to wait.') : true;
				}
			}, { '': _('Default'), direct: _('Traffic goes past the tunnel'), closed: _('Traffic waits for the tunnel') });
		field(form.Value, 'fallback_after', _('Past the tunnel after'),
			_('Seconds of silence, after which traffic leaves past the tunnel.'),
			text('10', fields.range(1, 3600))).depends({ fallback: 'closed', '!reverse': true });
		field(form.Flag, 'kill_switch', _('Kill switch'),
			_('Nothing leaves past the tunnel, even if the program crashes. It ends when the program is stopped.'), flag('0'));
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
		const make = () => daemon.genkey().then(
			key => dom.content(shown, [ key || _('There is no key yet.') ]),
			error => ui.addNotification(null, E('p', [ _('That has failed: %s').format(error.message || error) ]), 'danger')
		).then(ui.hideModal);

		return E('div', [ shown, ' ', E('button', {
			class: 'cbi-button', disabled: L.hasViewPermission() === false ? '' : null,
			click: ev => { ev.preventDefault(); publicKey ? fresh() : make() }
		}, publicKey ? _('New key…') : _('Make a key')) ]);
	},

	/* Connections that are used though nothing is said about them: a section of its own for who wants one. */
	found(section, interfaces) {
		const unlisted = () => interfaces.filter(one => one.internet
			&& !uci.sections('onebox', 'wan').some(wan => one.names.includes(wan.interface) || (one.device && wan.device === one.device)));

		if (uci.get('onebox', section.section, 'discover') === '0' || !unlisted().length)
			return;

		add(section, 'wans', form.DummyValue, '_found', _('Found'), _('In use without settings of their own.'), {
			renderWidget: () => E('div', { class: 'ob-found' }, unlisted().map(one => E('div', [
				E('strong', [ one.name ]), ' ', one.device && one.device !== one.name ? one.device : '', ' ',
				E('button', {
					class: 'cbi-button cbi-button-edit', type: 'button',
					click: ui.createHandlerFn(this, () => {
						uci.set('onebox', uci.add('onebox', 'wan', fields.sectionName(one.name)), 'interface', one.name);

						return section.map.save(null, true);
					})
				}, [ _('Edit') ])
			])))
		});
	},

	wans(grid, interfaces) {
		const field = add.bind(null, grid, null);

		grid.addremove = true;
		grid.sortable = true;
		grid.nodescriptions = true;
		grid.addbtntitle = _('Add a connection');
		grid.modaltitle = name => _('Internet connection “%s”').format(name);

		/* In the list: what it is about, in few words. */
		field(form.DummyValue, '_link', _('Interface'), null, {
			modalonly: false, textvalue: id => this.linkOf(id, interfaces)
		});

		const link = field(form.ListValue, 'interface', _('Interface'), _('As it is called in the network settings.'), {
			modalonly: true, optional: true, validate(id, value) { return checkLink(this, id, value) }
		});

		link.value('', _('– named by its device –'));
		interfaces.forEach(one => one.names.forEach(name => link.value(name, one.device ? '%s (%s)'.format(name, one.device) : name)));
		uci.sections('onebox', 'wan').map(wan => wan.interface).filter(name => name && !link.keylist.includes(name)).forEach(name => link.value(name));
		field(form.Value, 'device', _('Device'), _('Instead of an interface: the name of a network device.'),
			text('', fields.device, { modalonly: true })).depends('interface', '');

		field(form.ListValue, 'mode', _('Use'), _('A backup carries data when nothing else does.'), choice('active', { editable: true }),
			{ active: _('Active'), backup: _('Backup'), off: _('Off') });
		field(form.Flag, 'metered', _('Metered'), _('Its data costs money: it is measured sparingly, and nothing is sent over it twice.'), flag('0', { editable: true }));
		field(form.DummyValue, '_limits', _('Limits'), null, { modalonly: false, textvalue: id => this.limitsOf(id) });

		const number = (initial, least, most) => text(initial, fields.range(least, most), { modalonly: true });

		field(form.Value, 'max_download', _('Download limit'), _('kbit/s; 0: measured.'), number('0', 0, 1e8));
		field(form.Value, 'max_upload', _('Upload limit'), _('kbit/s; 0: measured.'), number('0', 0, 1e8));
		field(form.DummyValue, '_quota', _('Quota'), null, { modalonly: false, textvalue: id => this.quotaOf(id) });
		field(form.Value, 'quota_mb', _('Quota'), _('Megabytes of both directions in a month. When they are used up, it is only a backup. 0: no limit.'),
			number('0', 0, 0xffffffff));
		field(form.Value, 'quota_day', _('Quota begins anew on day'), _('Day of the month; in a shorter month its last day.'),
			number('1', 1, 31));
	},

	linkOf(id, interfaces) {
		const wan = uci.get('onebox', id) || {};
		const known = interfaces.find(one => one.names.includes(wan.interface));

		return known && known.device ? '%h (%h)'.format(wan.interface, known.device) : '%h'.format(wan.interface || wan.device || '–');
	},

	limitsOf(id) {
		const [ down, up ] = [ 'max_download', 'max_upload' ].map(name => +uci.get('onebox', id, name) || 0);
		const limit = (arrow, value) => value ? '%s %s'.format(arrow, words.rate(value)) : null;

		return [ limit('↓', down), limit('↑', up) ].filter(part => part).join(', ') || _('measured');
	},

	quotaOf(id) {
		const quota = +uci.get('onebox', id, 'quota_mb') || 0;

		return quota ? _('%s from day %s').format(words.volume(quota), uci.get('onebox', id, 'quota_day') || '1') : _('none');
	},

	peers(section) {
		const field = add.bind(null, section, null);

		section.addremove = true;
		section.anonymous = false;
		section.addbtntitle = _('Add a server');

		field(form.DynamicList, 'endpoint', _('Reached at'),
			_('Host and port; several in order of preference.'), text('vps.example.net:51830', fields.endpoint, { rmempty: false }));
		field(form.Value, 'public_key', _('Its public key'), null, {
			rmempty: false,
			validate: (id, value) => {
				const twin = fields.twin('peer', id, { public_key: value });

				return twin ? _('“%s” has this key.').format(twin['.name']) : fields.key(value || '');
			}
		});
		field(form.Value, 'preshared_key', _('Preshared key'),
			_('A secret that both ends have in addition.'), text('', fields.key, { password: true }));
		field(form.Button, '_psk', ' ', null, {
			inputtitle: _('Make a preshared key'), inputstyle: 'action',
			onclick(ev, id) { return makePreshared(this, id) }
		});
		field(form.DynamicList, 'allowed_ips', _('Networks behind it'),
			_('What is sent through the tunnel: 0.0.0.0/0 and ::/0 are everything.'), {
				rmempty: false, validate: (id, value) => !value || this.checkPrefix(id, value)
			});
		field(form.Flag, 'route_allowed_ips', _('Set routes to them'),
			_('Without them, only what other routes send there goes through the tunnel.'), flag('1'));
	},

	checkPrefix(id, value) {
		const right = fields.prefix(value);
		const twin = right === true && uci.sections('onebox', 'peer').find(peer =>
			peer['.name'] !== id && L.toArray(peer.allowed_ips).includes(value));

		return twin ? _('“%s” has this network.').format(twin['.name']) : right;
	},

	routing(section) {
		const field = add.bind(null, section, 'routing');
		const value = (name, title, description, ...about) => field(form.Value, name, title, description, text(...about));

		value('device', _('Device'), _('Name of the tunnel\'s device.'), 'onebox0', fields.device);
		value('netifd', _('Interface'), _('One with the protocol “onebox” in the network settings, where addresses, routes and zone are set then. Empty: the program sets them itself.'), '', fields.interface);
		value('mtu', _('Packet size'), _('Bytes; 0: as large as all connections carry.'), '0', fields.mtu);
		field(form.Flag, 'mss_clamp', _('Clamp TCP segments'), _('Without it, connections to hosts that filter ICMP hang.'), flag('1'));
		value('table', _('Routing table'), null, '51', fields.table);
		value('rule_priority', _('Rule priority'), _('900: before mwan3 and pbr. 31000: behind.'), '900', fields.range(1, 32764));
		value('fwmark', _('Firewall mark'), _('Of the tunnel\'s own datagrams, which must not enter the tunnel.'), '0x10000000', null,
			{ validate(id, mark) { return checkMark(this, id, mark) } });
		value('fwmask', _('Firewall mask'), _('The bits of the mark that are the tunnel\'s.'), '0xf0000000', mark => fields.mark(mark));
	},

	advanced(section) {
		const field = add.bind(null, section, 'advanced');
		const value = (name, title, description, ...about) => field(form.Value, name, title, description, text(...about));

		field(form.ListValue, 'log_level', _('Log'), null, choice('info'),
			{ error: _('Errors only'), warn: _('Warnings'), info: _('Changes of state'), debug: _('Decisions'), trace: _('Every packet') });
		value('memory_mb', _('Memory for packets'), _('MiB, 4 to 1024. Too little limits the rate over links with a long delay.'), '16', fields.range(4, 1024));
		value('hold_ms_max', _('Longest wait for order'), _('Milliseconds that a packet may wait for its predecessors, 10 to 5000.'), '1000', fields.range(10, 5000));
		value('probe_interval', _('Idle connections are probed every'), _('Seconds, 1 to 300. Each probe costs about 100 bytes.'), '15', fields.range(1, 300));
		value('private_key_file', _('File of the private key'), null, '/etc/onebox/private.key', fields.path)
			.depends('private_key', '');
		value('private_key', _('Private key'), _('Instead of a file. A file of its own is better kept.'), '', fields.key, { password: true });
		value('control', _('Control socket'), null, '/var/run/onebox.sock', fields.socket);
		value('ubus_socket', _('Socket of ubus'), null, '/var/run/ubus/ubus.sock', fields.socket);
		value('state_dir', _('Directory of what is kept'), _('What WANs with a quota have used and, if a directory is given, the history; written at most once an hour.'), '/etc/onebox', fields.path);
	}
});
