'use strict';
'require baseclass';
'require rpc';
'require uci';

/* The firewall zone of the tunnel, for the set-up.
 *
 * How: a zone takes interfaces, so that choosing one makes the tunnel an interface with the protocol
 * 'onebox'; its routes stay the program's, whatever metrics the WANs have. Without a zone the service
 * lets each network use the tunnel as it uses the internet.
 *
 * Limits: netifd knows a new protocol after its next start only; until then no zone can be chosen.
 */

const handlers = rpc.declare({ object: 'network', method: 'get_proto_handlers', expect: { '': {} } });

function zones() {
	return uci.sections('firewall', 'zone').filter(zone => zone.name);
}

function main() {
	return uci.sections('onebox', 'onebox')[0] || {};
}

return baseclass.extend({
	load() {
		return Promise.all([ 'network', 'firewall' ].map(name => L.resolveDefault(uci.load(name)))
			.concat(L.resolveDefault(handlers(), {}))).then(([ , , known ]) => { this.known = !!known.onebox });
	},

	render() {
		const own = main().netifd;
		const former = zones().find(zone => L.toArray(zone.network).includes(own));
		const chosen = !this.known ? '' : own ? former && former.name : 'wan';

		this.before = former ? former.name : '';
		if (!zones().length)
			return '';

		this.select = E('select', { class: 'cbi-input-select', id: 'ob-zone', disabled: this.known ? null : '' },
			[ E('option', { value: '' }, [ _('None: each network as it uses the internet') ]) ].concat(zones().map(zone =>
				E('option', { value: zone.name, selected: zone.name === chosen ? '' : null }, [ zone.name ]))));

		return E('p', [ E('label', { for: 'ob-zone' }, [ _('Firewall zone of the tunnel') ]), ' ', this.select,
			this.known ? '' : E('span', { class: 'ob-sub' }, [ ' ', _('Can be chosen when the router has been restarted.') ]) ]);
	},

	/* Stages what was chosen, if that is something else than before. */
	write() {
		const sid = main()['.name'];
		const name = main().netifd || 'onebox';
		const zone = this.select ? this.select.value : this.before;

		if (zone === this.before || !sid)
			return;

		if (!main().netifd)
			uci.set('onebox', sid, 'netifd_routes', '0');
		uci.set('onebox', sid, 'netifd', zone ? name : null);

		if (zone && uci.get('network', name) == null)
			uci.add('network', 'interface', name);
		if (zone)
			uci.set('network', name, 'proto', 'onebox');

		for (const one of zones()) {
			const list = L.toArray(one.network);
			const now = list.filter(member => member !== name).concat(one.name === zone ? [ name ] : []);

			if (now.join() !== list.join())
				uci.set('firewall', one['.name'], 'network', now);
		}
	}
});
