# VMs of the libvirtd that thwlab starts for one lab: what comes on top of the Vagrantfile.
#
# LAB_VMS is a file with the daemon's address, the lab's box and its SSH key; thwlab writes it.
# A VM of the box that thwlab builds is started without a boot loader.  Its name, address and SSH key are on
# the kernel's command line, so that Vagrant has nothing to log in for: that takes ten seconds for each
# emulated VM.  A plain box, one that the user named, boots and is set up as anywhere.
#
# With THWLAB_NAT they have VirtualBox's first interface too: a network of each VM's own that leads out, with the same
# address on all, 10.0.2.15, and the default route.  It is first by its place on the PCI bus: beside the chipset's own
# functions in slot 1, where libvirt, which has no word for such an interface's place, puts nothing by itself.

require "etc"
require "json"

return unless File.file?(ENV.fetch("LAB_VMS")) # a question before there is a daemon, such as for boxes

VMS = JSON.parse(File.read(ENV.fetch("LAB_VMS")))
PLAIN = VMS.fetch("plain")
NAT = VMS["nat"]

Vagrant.configure("2") do |config|
  config.vm.box = VMS.fetch("box")
  unless PLAIN
    # Told, for Vagrant finds it out by 250 processes in the guest, which take an emulated one half a minute.
    config.vm.guest = :debian
    config.ssh.username = "root"
    config.ssh.private_key_path = VMS.fetch("key")
    config.ssh.insert_key = false
    config.ssh.sudo_command = "%c" # it is root already, and the box has no sudo
  end

  PLAN.fetch("machines").each do |name, machine|
    config.vm.define name do |node|
      node.vm.provider "libvirt" do |libvirt|
        line = %W[root=/dev/vda rw quiet console=ttyS0 net.ifnames=0 systemd.hostname=#{name}]
        line << "ip=#{machine.fetch("address")}:::#{NETMASK}::#{NAT ? "eth2" : "eth1"}:none"
        line << "thwlab.nat" if NAT
        line << %(systemd.set_credential="ssh.authorized_keys.root:#{VMS["authorized"]}")

        if VMS["emulator"]
          libvirt.driver = "qemu"
          # Translated code on all processors, within bounds: libvirt has no setting for it.
          libvirt.emulator_path = VMS["emulator"]
          libvirt.cpu_mode = "custom"
          libvirt.cpu_model = "qemu64"
          # An emulated processor is a thread of this host's, and whoever joins waits for the first control plane's, while
          # others have little to do.
          if machine.fetch("roles", []).include?("control-plane")
            libvirt.cpus = [machine.fetch("cpus", 1), [2, Etc.nprocessors].min].max
          end
          # Guards against other guests, watchdogs and the like: each costs an emulated processor much.
          line.push "mitigations=off", "nokaslr", "audit=0", "nowatchdog"
          # Held up for long enough, a guest takes its own counter for unstable and reads a device's instead for each
          # look at the clock, for good; this one is its host's counter, and right.
          line.push "tsc=reliable", "thwlab.emulated"
          # For devices that nobody uses here, and whose drivers take seconds to look for what hangs on them.
          line.push "module_blacklist=ata_generic,ata_piix,kvm_amd,kvm_intel"
        end

        libvirt.uri = VMS.fetch("uri")
        unless PLAIN
          libvirt.kernel = VMS.fetch("kernel")
          libvirt.initrd = VMS.fetch("initrd")
          libvirt.cmd_line = line.join(" ")
          libvirt.video_type = "none"
          libvirt.inputs = []
        end
        if NAT
          mac = format("52:54:0a:%02x:%02x:%02x", *machine.fetch("address").split(".").last(3).map(&:to_i))
          ["-netdev", "user,id=nat,net=10.0.2.0/24",
           "-device", "virtio-net-pci,netdev=nat,mac=#{mac},bus=pci.0,addr=0x1.0x4"].each do |word|
            libvirt.qemuargs value: word
          end
        end
        # What it says while it boots, in the lab's folder on this host: libvirt/log/qemu.
        libvirt.serial type: "file", source: { path: "/var/log/libvirt/qemu/console-#{name}.log" }
        # No screen, and ours no keyboard either; random numbers at once.  Its disk ends with the lab: no flush of the
        # guest's waits for this host's disk, as a power cut of a VM takes nothing from its host.
        libvirt.graphics_type = "none"
        libvirt.memballoon_enabled = false
        libvirt.random model: "random"
        libvirt.disk_bus = "virtio"
        libvirt.disk_driver cache: "unsafe"
      end
    end
  end
end
